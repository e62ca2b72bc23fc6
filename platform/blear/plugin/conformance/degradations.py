"""Checks of a degradation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys, Draws, Resizing, SizeIndependent
from blear.errors import BlearError
from blear.plugin.catalog import RegisteredComponent
from blear.plugin.conformance.checks import (
    TOLERANCE,
    Check,
    NotCheckedError,
    accelerator,
    expect,
    expect_close,
    for_each_example,
    shape,
)
from blear.plugin.severity import severity_of, varied_parameters

_CLIPS = (
    ClipSpec(1, 3, 32, 32),
    ClipSpec(1, 1, 32, 32),
    ClipSpec(4, 3, 32, 32),
    ClipSpec(1, 3, 48, 40),
    ClipSpec(1, 3, 224, 224),
)
_COUNT = 6


def degradation_checks(registered: RegisteredComponent) -> Iterator[Check]:
    """Iterates over the checks of each example, with the first shape of clips that the degradation accepts."""
    requirements: dict[str, Callable[[_Built], None]] = {
        "has the methods of the contract": _has_methods,
        "draws depend on the keys only": _draws_by_key,
        "keeps shape and type": _keeps_shape,
        "keeps the shape of frames that are not square": _keeps_other_shape,
        "does not modify its input": _keeps_input,
        "is deterministic": _deterministic,
        "a batch equals its samples one by one": _one_by_one,
        "accepts empty batches and single samples": _few,
        "acts alike on clips of different sizes, if declared": _acts_alike,
        "its levels can be built": _levels,
        "moves to a device": _moves,
    }
    return for_each_example(registered, requirements, lambda example: _Built(registered, example))


class _Built:
    """A degradation built for the first shape of clips that it accepts, with random frames of that shape."""

    def __init__(self, registered: RegisteredComponent, example: Any) -> None:
        self.registered, self.example = registered, dict(example)
        refused = []
        for clip in _CLIPS:
            self.context = BuildContext(seed=1, clip=clip)
            noise = torch.Generator().manual_seed(1)
            self.frames_BTCHW = torch.rand(_COUNT, clip.length, clip.channels, clip.height, clip.width, generator=noise)
            try:
                self.operation = registered.build(example, self.context)
                self.operation.apply(self.frames_BTCHW, self.operation.draw(keys()))
                return
            except BlearError as error:
                refused.append(f"{clip.length} x {clip.channels} x {clip.height} x {clip.width}: {error.what}")
        expect(False, "build, apply", "one of the usual shapes to be accepted (T x C x H x W)", "; ".join(refused))

    def run(self, frames_BTCHW: Tensor, draw_keys: DrawKeys) -> Tensor:
        out = self.operation.apply(frames_BTCHW, self.operation.draw(draw_keys))
        expect(isinstance(out, Tensor), "apply", "a tensor", type(out).__name__)
        return out


def keys(count: int = _COUNT, *, first: int = 0, epoch: int = 0) -> DrawKeys:
    """Returns the keys of `count` consecutive samples."""
    return DrawKeys(7, 0, np.full(count, epoch), np.arange(first, first + count))


def _has_methods(built: _Built) -> None:
    kind = type(built.operation).__name__
    expect(isinstance(built.operation, Degradation), "build", "draw, apply and levels (contracts.Degradation)", kind)


def _draws_by_key(built: _Built) -> None:
    whole = _drawn(built, keys())
    for name, value in whole.items():
        expect(isinstance(value, Tensor), f"draw()[{name!r}]", "a tensor", type(value).__name__)
        expect(value.device.type == "cpu", f"draw()[{name!r}]", "a tensor on the CPU", value.device)
        expect(len(value) == _COUNT, f"draw()[{name!r}]", f"a first dimension of B = {_COUNT}", shape(value))
    for name, value in _drawn(built, keys()).items():
        expect(torch.equal(value, whole[name]), f"draw()[{name!r}]", "the same for the same keys", "other values")
    for sample in range(_COUNT):
        for name, value in _drawn(built, keys(1, first=sample)).items():
            same = torch.equal(value[0], whole[name][sample])
            expect(same, f"draw()[{name!r}]", "a draw that does not depend on the batch", "one that does")


def _drawn(built: _Built, draw_keys: DrawKeys) -> Draws:
    draws = built.operation.draw(draw_keys)
    expect(isinstance(draws, dict), "draw", "a dict of tensors", type(draws).__name__)
    return dict(draws)


def _keeps_shape(built: _Built) -> None:
    """Except for `Resizing` operations, and for operations that turn still images into clips."""
    before = built.frames_BTCHW
    after = built.run(before, keys())
    if isinstance(built.operation, Resizing):
        expect(after.shape[:3] == before.shape[:3], "apply", f"the same B, T, C as {shape(before)}", shape(after))
        return
    still = before.shape[1] == 1 and after.shape[:1] + after.shape[2:] == before.shape[:1] + before.shape[2:]
    expect(
        after.shape == before.shape or still,
        "apply",
        f"{shape(before)} (else implement `for_evaluation`)",
        shape(after),
    )
    expect(after.dtype == before.dtype, "apply", f"{shape(before)}", shape(after))
    expect(bool(torch.isfinite(after).all()), "apply", "finite numbers", "NaN or infinity")


def _keeps_other_shape(built: _Built) -> None:
    """Rows and columns that are exchanged show in frames that are not square only."""
    if isinstance(built.operation, Resizing):
        return
    clip = replace(built.context.clip or _CLIPS[0], height=32, width=40)
    frames_BTCHW = torch.rand(2, clip.length, clip.channels, clip.height, clip.width)
    try:
        operation = built.registered.build(built.example, replace(built.context, clip=clip))
        after = operation.apply(frames_BTCHW, operation.draw(keys(2)))
    except BlearError as error:
        raise NotCheckedError(f"refused: {error.what}") from error
    same = isinstance(after, Tensor) and after.shape[-2:] == frames_BTCHW.shape[-2:]
    expect(same, "apply", f"{shape(frames_BTCHW)}", shape(after))


def _keeps_input(built: _Built) -> None:
    before = built.frames_BTCHW.clone()
    built.run(built.frames_BTCHW, keys())
    same = torch.equal(before, built.frames_BTCHW)
    expect(same, "apply", "an unmodified input", "an input that is modified in place")


def _deterministic(built: _Built) -> None:
    first = built.run(built.frames_BTCHW, keys(epoch=3))
    again = built.run(built.frames_BTCHW, keys(epoch=3))
    expect_close("apply", "the same frames for the same keys (random numbers come from `draw`)", first, again, 1e-6)


def _one_by_one(built: _Built) -> None:
    whole = built.run(built.frames_BTCHW, keys())
    alone = [built.run(built.frames_BTCHW[n : n + 1], keys(1, first=n)) for n in range(_COUNT)]
    expect_close("apply", "a batch to be its samples one by one", torch.cat(alone), whole, TOLERANCE)


def _few(built: _Built) -> None:
    for count in (0, 1):
        out = built.run(built.frames_BTCHW[:count], keys(count))
        expect(len(out) == count, "apply", f"{count} clips of a batch of {count}", shape(out))


def _acts_alike(built: _Built) -> None:
    if isinstance(built.operation, SizeIndependent) and built.operation.size_independent:
        whole, part = built.run(built.frames_BTCHW, keys()), built.run(_centre(built.frames_BTCHW), keys())
        expect_close("apply", "the centre of a clip to become the centre of the result", _centre(whole), part, 1e-4)


def _centre(frames_BTCHW: Tensor) -> Tensor:
    return frames_BTCHW[..., 4:-4, 4:-4].contiguous()


def _levels(built: _Built) -> None:
    levels = built.operation.levels()
    varied = varied_parameters(levels)
    for number, level in enumerate(levels):
        if len(varied) == 1:
            _require_severity(f"levels()[{number}]", level[next(iter(varied))])
        problems = []
        for params in (dict(level), built.example | dict(level)):
            try:
                built.registered.build(params, built.context)
                break
            except BlearError as error:
                problems.append(error.what)
        else:
            method = f"levels()[{number}]"
            expect(
                False, method, "parameters that build, alone or over the example's", f"{dict(level)}: {problems[-1]}"
            )


def _require_severity(method: str, value: object) -> None:
    try:
        severity_of(value)
    except ValueError as error:
        expect(False, method, "a severity", f"one that {error}")


def _moves(built: _Built) -> None:
    device = accelerator()
    here = built.run(built.frames_BTCHW, keys())
    draws = {name: value.to(device) for name, value in built.operation.draw(keys()).items()}
    there = built.operation.apply(built.frames_BTCHW.to(device), draws)
    expect(there.device.type == device.type, "apply", f"frames on {device.type}", there.device)
    expect_close("apply", "on the GPU what it is on the CPU", here, there.cpu(), 1e-3)
