"""Compares exported files with their model under each condition of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blear.evaluate.sweep import Level
from blear.export.degraded import DegradedSamples
from blear.progress import track

Predictor = Callable[[Tensor], Mapping[str, Tensor]]
"""Frames [N, T, C, H, W] in [0, 1] -> a tensor for each target, as `Model` returns it."""

TOLERANCE = 1e-3
"""Largest difference of an exported file from its model; of values above 1, relative to them."""


@dataclass(frozen=True)
class LevelDifference:
    """The outputs of a model and of an exported file at one level.

    Attributes:
        level: the condition.
        largest: largest absolute difference of an output; of values above 1, relative to them. NaN: see
            `largest_difference`.
        accuracy: share of correct decisions of model and file; None without labels.
    """

    level: Level
    largest: float
    accuracy: tuple[float, float] | None

    @property
    def name(self) -> str:
        """Condition and severity."""
        return self.level.condition if self.level.use is None else f"{self.level.condition} {self.level.severity:g}"

    @property
    def lost(self) -> float:
        """Accuracy that the file loses, in points; 0 without labels."""
        return 0.0 if self.accuracy is None else 100 * (self.accuracy[0] - self.accuracy[1])


def compare(
    model: Predictor, files: Mapping[str, Predictor], samples: DegradedSamples
) -> dict[str, list[LevelDifference]]:
    """Compares each file with the model at every level.

    Args:
        files: name -> file.
    """
    found: dict[str, list[LevelDifference]] = {name: [] for name in files}
    every = samples.levels()
    with track("compare", len(every)) as bar:
        for level in every:
            for name, one in _compare_level(model, files, samples, level).items():
                found[name].append(one)
            bar.advance(1, level.condition)
    return found


@torch.no_grad()
def _compare_level(
    model: Predictor, files: Mapping[str, Predictor], samples: DegradedSamples, level: Level
) -> dict[str, LevelDifference]:
    truth_N, target = samples.data.truth_N, samples.data.target
    largest, hits = dict.fromkeys(files, 0.0), dict.fromkeys(("", *files), 0)
    for positions, frames in samples.chunks(level):
        expected = model(frames)
        outputs: dict[str, Mapping[str, Tensor]] = {name: file(frames) for name, file in files.items()}
        for name, output in outputs.items():
            largest[name] = _largest(largest[name], largest_difference(expected, output))
        for name, output in {"": expected, **outputs}.items():
            if truth_N is not None:
                decided = output[target].cpu().numpy().argmax(axis=1)
                hits[name] += int(np.count_nonzero(decided == truth_N[positions]))
    count = 0 if truth_N is None else len(truth_N)
    return {
        name: LevelDifference(level, largest[name], (hits[""] / count, hits[name] / count) if count else None)
        for name in files
    }


def largest_difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    """Largest absolute difference over all targets; of values above 1, relative to them; NaN where a value is NaN."""
    return _largest(
        *(
            float(((found[name].cpu() - value.cpu()) / value.cpu().abs().clamp_min(1)).abs().max())
            for name, value in expected.items()
        )
    )


def _largest(*differences: float) -> float:
    """The largest difference; NaN where one is NaN, which `max` would ignore by its place."""
    return float(np.max(differences))


def difference_table(found: Sequence[LevelDifference]) -> str:
    """Markdown: one line for each level."""
    labelled = found[0].accuracy is not None
    heads = ["condition", "largest difference", *(["model, %", "file, %"] if labelled else [])]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for one in found:
        shares = [f"{100 * share:.1f}" for share in one.accuracy or ()]
        lines.append(f"| {' | '.join([one.name, f'{one.largest:.1e}', *shares])} |")
    return "\n".join(lines)
