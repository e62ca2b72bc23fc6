"""Checks of a backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from blear.contracts import BuildContext, ClipSpec, Features
from blear.plugin.catalog import RegisteredComponent
from blear.plugin.conformance.checks import Check, accelerator, expect, expect_close, for_each_example, shape
from blear.plugin.conformance.modules import (
    OTHER_SEED,
    backbone_for,
    expect_same_start,
    expect_saves,
    frames_for,
    seeded,
)
from blear.plugin.memory_format import to_channels_last


def backbone_checks(registered: RegisteredComponent) -> Iterator[Check]:
    """Iterates over the checks of each example, with the first shape of clips that the backbone accepts."""
    requirements: dict[str, Callable[[_Built], None]] = {
        "returns named features": _features,
        "does not modify its input": _keeps_input,
        "a batch equals its samples one by one": _one_by_one,
        "accepts empty batches and single samples": _few,
        "has equal initial weights under one seed": lambda built: expect_same_start(built.make),
        "saves and loads": lambda built: expect_saves(built.make, lambda: built.make(OTHER_SEED), built.features),
        "can be trained": _trains,
        "moves to a device": _moves,
    }
    return for_each_example(registered, requirements, lambda example: _Built(registered, example))


class _Built:
    def __init__(self, registered: RegisteredComponent, example: Any) -> None:
        self._registered, self._example = registered, example
        self.module, self.context = backbone_for(registered, example)

    @property
    def clip(self) -> ClipSpec:
        assert self.context.clip is not None
        return self.context.clip

    def make(self, *seed: int) -> nn.Module:
        context: BuildContext = self.context
        return seeded(self._registered, self._example, context, *seed).eval()

    def features(self, module: nn.Module) -> Features:
        """Features of two clips, by the name of the method for messages."""
        return {f"forward()[{name!r}]": value for name, value in self.run(frames_for(self.clip, 2), module).items()}

    @torch.no_grad()
    def run(self, frames_BTCHW: Tensor, module: nn.Module | None = None) -> Features:
        found = (module or self.module)(frames_BTCHW)
        expect(isinstance(found, Mapping), "forward", "a dict of named tensors", type(found).__name__)
        return dict(found)


def _features(built: _Built) -> None:
    frames = frames_for(built.clip, 3)
    features = built.run(frames)
    expect(len(features) > 0, "forward", "at least one feature", "none")
    for name, value in features.items():
        method = f"forward()[{name!r}]"
        expect(isinstance(value, Tensor) and value.is_floating_point(), method, "a float tensor", shape(value))
        expect(value.ndim >= 3 and len(value) == 3, method, "[B, T, ...] with B = 3", shape(value))
        most = built.clip.length
        expect(value.shape[1] <= most, method, f"[B, T, ...] with T of {most} or less", shape(value))
        expect(bool(torch.isfinite(value).all()), method, "finite numbers", "NaN or infinity")
    if "embedding" in features:
        expect(features["embedding"].ndim == 3, "forward()['embedding']", "[B, T, D]", shape(features["embedding"]))


def _keeps_input(built: _Built) -> None:
    frames = frames_for(built.clip, 2)
    built.run(frames)
    same = torch.equal(frames, frames_for(built.clip, 2))
    expect(same, "forward", "an unmodified input", "an input that is modified in place")


def _one_by_one(built: _Built) -> None:
    frames = frames_for(built.clip, 3)
    whole = built.run(frames)
    for name, value in whole.items():
        alone = torch.cat([built.run(frames[n : n + 1])[name] for n in range(3)])
        expect_close(f"forward()[{name!r}]", "in eval() a batch to be its samples one by one", alone, value)


def _few(built: _Built) -> None:
    for count in (0, 1):
        for name, value in built.run(frames_for(built.clip, count)).items():
            expect(len(value) == count, f"forward()[{name!r}]", f"{count} clips of a batch of {count}", shape(value))


def _trains(built: _Built) -> None:
    """Trains with the memory format of `cluster.channels_last: true`."""
    module = to_channels_last(built.make().train())
    sum(value.float().square().sum() for value in module(frames_for(built.clip, 2)).values()).backward()
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    without = [name for name, parameter in trained.items() if parameter.grad is None]
    if trained:
        expect(len(without) < len(trained), "forward", "features that depend on the parameters", "no gradient in any")
        wanted = "a gradient in every parameter (several workers wait for each; freeze or remove the others)"
        expect(not without, "forward", wanted, f"none in {', '.join(without[:4])}")


def _moves(built: _Built) -> None:
    device = accelerator()
    frames = frames_for(built.clip, 2)
    here = built.run(frames)
    built.module.to(device)
    for name, value in built.run(frames.to(device)).items():
        expect_close(f"forward()[{name!r}]", "on the GPU what it is on the CPU", here[name], value.cpu(), 1e-2)
