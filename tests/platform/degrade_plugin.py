"""A one-file plugin of simple degradations: sums, products and size changes, so that tests can compute the result."""

from __future__ import annotations

import torch
from pydantic import Field

from blear.contracts import Component, Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class AddParams(Params):
    most: float = Field(1.0, ge=0, description="Largest number that is added; drawn uniformly for each clip.")


class TimesParams(Params):
    factor: float = Field(description="What values are multiplied by.")


class OwnParams(Params):
    p: float = Field(0.5, description="Probability that 100 is added.")


class PadParams(Params):
    to: int = Field(ge=1, description="Rows and columns afterwards.")


class Add:
    """Adds one number, drawn for each clip."""

    def __init__(self, params, context):
        self._most = params.most

    def draw(self, keys):
        return {"add": torch.from_numpy(keys.uniform()[:, 0] * self._most).float()}

    def apply(self, frames_BTCHW, draws):
        return frames_BTCHW + draws["add"][:, None, None, None, None]

    def levels(self):
        return [{"most": most} for most in (1, 2)]


class Times(Add):
    """Multiplies by a constant, without draws."""

    def __init__(self, params, context):
        self._factor = params.factor

    def draw(self, keys):
        return {}

    def apply(self, frames_BTCHW, draws):
        return frames_BTCHW * self._factor


class Own(Add):
    """Adds 100 with a probability of its own."""

    def __init__(self, params, context):
        self._p = params.p

    def draw(self, keys):
        return {"add": torch.from_numpy(100.0 * (keys.uniform()[:, 0] < self._p)).float()}


class Fit(Times):
    """Changes frames to a fixed size: crops, or repeats the border."""

    def __init__(self, params, context):
        self._to = params.to

    def apply(self, frames_BTCHW, draws):
        steps = torch.arange(self._to)
        height, width = frames_BTCHW.shape[-2:]
        return frames_BTCHW[..., steps.clamp(max=height - 1)[:, None], steps.clamp(max=width - 1)]

    def for_evaluation(self):
        return self


@hookimpl
def register_degradations():
    return [
        Component("add", "Adds a number", AddParams, Add),
        Component("times", "Multiplies", TimesParams, Times, examples=({"factor": 2},)),
        Component("own", "Adds with a probability of its own", OwnParams, Own),
        Component("fit", "Changes the size", PadParams, Fit, examples=({"to": 4},)),
    ]
