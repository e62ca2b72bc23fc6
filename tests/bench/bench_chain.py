"""Benchmark: a chain of separable operations, either fused into one operator or applied one after another."""

from __future__ import annotations

import numpy as np
import torch
from measuring import Row, interleaved, rate_rows, threads
from pydantic import TypeAdapter

from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys
from blear.degradation.chain import Chain, build_chain
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationEntry

LISTS = {
    "blur, scale_mix": [
        {"use": "corruptions/blur", "sigma": [0.2, 3]},
        {"use": "corruptions/scale_mix", "factors": [3, 4, 6]},
    ],
    "blur, scale_mix, box_blur": [
        {"use": "corruptions/blur", "sigma": [0.2, 3]},
        {"use": "corruptions/scale_mix", "factors": [3, 4, 6]},
        {"use": "corruptions/box_blur", "width": [1, 4]},
    ],
}
SIZES = ((128, 1, 1, 48), (128, 1, 3, 96), (16, 8, 3, 96))


class Plain:
    """A degradation whose `operators` are hidden, so that it is not fused."""

    def __init__(self, inner: Degradation) -> None:
        self.draw, self.apply, self.levels = inner.draw, inner.apply, inner.levels


def measure() -> list[Row]:
    """Measures every chain at every size with two threads."""
    rows: list[Row] = []
    with threads(2):
        for batch, length, channels, size in SIZES:
            frames = torch.rand(batch, length, channels, size, size, generator=torch.Generator().manual_seed(0))
            for name, entries in LISTS.items():
                rows += _compare(name, entries, frames)
    return rows


def _compare(name: str, entries: list[dict[str, object]], frames: torch.Tensor) -> list[Row]:
    context = BuildContext(0, ClipSpec(*frames.shape[1:]))
    chain, _ = build_chain(load_plugins(), TypeAdapter(list[DegradationEntry]).validate_python(entries), context)
    operations = [node.operation for node in chain.nodes]
    plain = Chain([Plain(operation) for operation in operations], 0)
    numbers = np.arange(len(frames))
    draws = [op.draw(DrawKeys(0, n, numbers, numbers)) for n, op in enumerate(operations)]

    def in_turn() -> torch.Tensor:
        done = frames
        for operation, drawn in zip(operations, draws, strict=True):
            done = operation.apply(done, drawn)
        return done

    arms = {
        "one after another": lambda: plain(frames, numbers, numbers),
        "as one": lambda: chain(frames, numbers, numbers),
    }
    what = f"{' x '.join(map(str, frames.shape))}, {name}, "
    rows = rate_rows(interleaved(arms, repeats=7), len(frames) * frames.shape[1], "images/s", "one after another", what)
    difference = (chain(frames, numbers, numbers) - in_turn()).abs().max().item()
    return [*rows, Row(f"{what}largest difference", difference, "of 1")]
