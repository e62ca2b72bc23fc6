"""Tests a model on a split of labelled data under several conditions: clean frames and swept degradations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError

from blear.contracts import BuildContext, ClipSpec, Dataset
from blear.degradation.chain import as_float
from blear.errors import DataError, JobError
from blear.evaluate.sweep import Level, levels
from blear.evaluate.transform import condition_chain
from blear.job.schema import Evaluate
from blear.models.model import Model
from blear.plugin.catalog import Catalog
from blear.progress import track

TEST_FILE = "test.yaml"
"""File of a model folder with the conditions of its published results."""
MEAN = "mean"
"""Key of a sweep's `group`: conditions with the same value are also reported as their mean."""
_BATCH, _RESAMPLES = 256, 2000


@dataclass(frozen=True)
class Labelled:
    """The samples of a split.

    Attributes:
        frames_NTHWC: uint8 in 0..255, or float32 in [0, 1].
        truth_N: class index of each sample.
        target: name of the class target.
    """

    frames_NTHWC: np.ndarray
    truth_N: np.ndarray
    target: str


@dataclass(frozen=True)
class Accuracy:
    """Accuracy under one condition, or its mean over several ones, with a 95 % interval.

    Attributes:
        condition: label of the condition, "clean", or the name of the mean.
        severity: value of the swept parameter; None for clean frames and means.
    """

    condition: str
    severity: float | None
    value: float
    low: float
    high: float
    n: int

    def as_row(self) -> dict[str, Any]:
        """The row of `ModelCard.metrics`."""
        numbers = {"metric": "accuracy", "value": self.value, "low": self.low, "high": self.high, "n": self.n}
        return {"condition": self.condition, "severity": self.severity} | numbers


def read_conditions(file: Path) -> Evaluate:
    """Reads a file of conditions: a mapping with `sweep` and `clean`, as in the `evaluate` section of a job.

    Raises:
        JobError: the file is missing or has mistakes.
    """
    do = "write a mapping with `sweep` and `clean`, as in the `evaluate` section of a job"
    try:
        values = YAML(typ="safe", pure=True).load(file.read_text())
        return Evaluate.model_validate({"arms": {"model": {"stage": "model"}}, **values})
    except OSError as error:
        raise JobError(f"no conditions: {error.strerror}", str(file), do) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise JobError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", str(file), do) from error
    except (YAMLError, TypeError) as error:
        raise JobError(f"no valid conditions: {str(error).splitlines()[0]}", str(file), do) from error


def read_split(dataset: Dataset, split: str, model: Model) -> Labelled:
    """Reads all samples of a split.

    Raises:
        DataError: there is no such split, or the data have no class target of the model, or its classes differ.
    """
    targets = {target.name: target.classes for target in dataset.targets}
    target = next((name for name in model.labels if name in targets), None)
    if target is None:
        what = (
            f"the data have the targets {', '.join(targets) or 'none'}, the model classifies {', '.join(model.labels)}"
        )
        raise DataError(what, do="choose data with a class target of the model")
    if targets[target] != model.labels[target]:
        what = f"classes of {target!r}: {', '.join(targets[target])}; the model: {', '.join(model.labels[target])}"
        raise DataError(what, do="choose data with the classes of the model, in the same order")
    if split not in dataset.splits:
        raise DataError(f"no split is called {split!r}", do=f"use one of: {', '.join(dataset.splits)}")
    samples = [sample for part in dataset.parts(split) for sample in dataset.samples(split, part)]
    if not samples:
        raise DataError(f"split {split!r} has no samples", do=f"use one of: {', '.join(dataset.splits)}")
    truth = np.array([sample.targets[target] for sample in samples], dtype=np.int64)
    return Labelled(np.stack([sample.frames for sample in samples]), truth, target)


def check_conditions(model: Model, data: Labelled, evaluate: Evaluate, catalog: Catalog) -> list[Accuracy]:
    """Computes the accuracy of a model under each condition, then the means of grouped conditions.

    The random numbers of a degradation depend on the position of the sample in the split only.

    Args:
        data: the samples.
        evaluate: the conditions.
        catalog: the components of the installed plugins.
    """
    _, length, height, width, channels = (len(data.frames_NTHWC), *data.frames_NTHWC.shape[1:])
    context = BuildContext(clip=ClipSpec(length, channels, height, width))
    results: list[tuple[Level, np.ndarray]] = []
    swept = levels(evaluate, catalog, context)
    with track("conditions", len(swept), 0) as bar:
        for level in swept:
            results.append((level, correct(model, data, evaluate, level, catalog, context)))
            bar.advance(1, level.condition)
    rows = [_estimate(level.condition, None if level.use is None else level.severity, [hit]) for level, hit in results]
    return [*rows, *(_estimate(name, None, hits) for name, hits in _means(evaluate, results).items())]


@torch.no_grad()
def correct(
    model: Model, data: Labelled, evaluate: Evaluate, level: Level, catalog: Catalog, context: BuildContext
) -> np.ndarray:
    """Whether each sample is classified correctly under one condition, bool [N]."""
    chain = condition_chain(evaluate, level, catalog, context)
    hits = []
    for first in range(0, len(data.truth_N), _BATCH):
        part = np.ascontiguousarray(data.frames_NTHWC[first : first + _BATCH].transpose(0, 1, 4, 2, 3))
        numbers = np.arange(first, first + len(part))
        frames = chain(as_float(torch.from_numpy(part), model.device), np.zeros_like(numbers), numbers)
        decided = model(frames.clamp(0, 1))[data.target].argmax(dim=1).cpu().numpy()
        hits.append(decided == data.truth_N[numbers])
    return np.concatenate(hits)


def _means(evaluate: Evaluate, results: Sequence[tuple[Level, np.ndarray]]) -> Mapping[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for level, hits in results:
        name = None if level.use is None else evaluate.sweeps[level.condition].group.get(MEAN)
        if name is not None:
            found.setdefault(str(name), []).append(hits)
    return found


def _estimate(condition: str, severity: float | None, hits: Sequence[np.ndarray]) -> Accuracy:
    """Mean over conditions and samples; percentile interval of a bootstrap over the samples."""
    score_N = np.mean(np.stack(hits), axis=0)
    count = len(score_N)
    generator = np.random.default_rng(0)
    draws = [score_N[generator.integers(0, count, count)].mean() for _ in range(_RESAMPLES)]
    low, high = np.quantile(draws, (0.025, 0.975))
    return Accuracy(condition, severity, float(score_N.mean()), float(low), float(high), count)


def markdown(rows: Sequence[Accuracy], hidden: frozenset[str] = frozenset()) -> str:
    """The results as a table: accuracy in percent with its interval.

    Args:
        hidden: conditions that are left out, for instance those of a mean.
    """
    return "\n".join(_table([row for row in rows if row.condition not in hidden]))


def _table(rows: Sequence[Accuracy]) -> Iterator[str]:
    yield "| condition | accuracy, % | 95 % interval |"
    yield "| --- | ---: | ---: |"
    several = {row.condition for row in rows if sum(other.condition == row.condition for other in rows) > 1}
    for row in rows:
        name = f"{row.condition} {row.severity:g}" if row.condition in several else row.condition
        yield f"| {name} | {100 * row.value:.1f} | {100 * row.low:.1f} to {100 * row.high:.1f} |"
