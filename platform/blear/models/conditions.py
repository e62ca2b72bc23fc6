"""Tests a model on a split of labelled data under several conditions: clean frames and swept degradations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError

from blear.contracts import BuildContext, ClipSpec, Dataset
from blear.degradation.chain import Chain, as_float
from blear.errors import DataError, JobError, first_line
from blear.evaluate.sweep import Level, levels
from blear.evaluate.transform import condition_chain
from blear.job.schema import Evaluate
from blear.models.inference import for_inference
from blear.models.model import Model
from blear.plugin.catalog import Catalog
from blear.progress import track

TEST_FILE = "test.yaml"
"""File of a model folder with the conditions of its published results."""
MEAN = "mean"
"""Key of a sweep's `group`: conditions with the same value are also reported as their mean, by family and severity."""
_DO = "write a mapping with `sweep` and `clean`, as in the `evaluate` section of a job"
_BATCH, _CHUNK = 256, 64  # degraded together; 64 pictures pass through a small network fastest on CPUs


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
class LevelResult:
    """The outputs of a model for the samples of one condition at one severity.

    Attributes:
        level: the condition.
        numbers_N: positions of the tested samples in the split, int64.
        probabilities_NK: float32.
    """

    level: Level
    numbers_N: np.ndarray
    probabilities_NK: np.ndarray


def read_conditions(file: Path) -> Evaluate:
    """Reads a file of conditions: a mapping with `sweep` and `clean`, as in the `evaluate` section of a job.

    Raises:
        JobError: the file is missing or has mistakes.
    """
    try:
        text = file.read_text()
    except OSError as error:
        raise JobError(f"no conditions: {error.strerror}", str(file), _DO) from error
    return parse_conditions(text, str(file))


def parse_conditions(text: str, where: str) -> Evaluate:
    """Reads the text of a file of conditions.

    Raises:
        JobError: the text has mistakes.
    """
    try:
        values = YAML(typ="safe", pure=True).load(text)
        return Evaluate.model_validate({"arms": {"model": {"stage": "model"}}, **values})
    except ValidationError as error:
        first = error.errors()[0]
        raise JobError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where, _DO) from error
    except (YAMLError, TypeError) as error:
        raise JobError(f"no valid conditions: {first_line(error)}", where, _DO) from error


def read_split(dataset: Dataset, split: str, model: Model) -> Labelled:
    """Reads all samples of a split.

    Raises:
        DataError: there is no such split, or the data have no class target of the model, or its classes differ.
    """
    targets = {target.name: target.classes for target in dataset.targets if target.kind == "class"}
    target = next((name for name in model.labels if name in targets), None)
    if target is None:
        what = (
            f"the data have the class targets {', '.join(targets) or 'none'}, the model classifies "
            f"{', '.join(model.labels)}"
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


def check_conditions(
    model: Model, data: Labelled, evaluate: Evaluate, catalog: Catalog, thin: int = 1
) -> list[LevelResult]:
    """Computes the outputs of a model under each condition.

    The random numbers of a degradation depend on the position of the sample in the split only.

    Args:
        data: the samples.
        evaluate: the conditions.
        catalog: the components of the installed plugins.
        thin: sweeps of a mean are tested on every `thin`-th sample: the first such sweep on samples 0, thin, 2 thin,
            ..., the next one on 1, 1 + thin, ... Together they test every sample.
    """
    fast = for_inference(model)
    _, length, height, width, channels = (len(data.frames_NTHWC), *data.frames_NTHWC.shape[1:])
    context = BuildContext(clip=ClipSpec(length, channels, height, width))
    averaged = [label for label, sweep in evaluate.sweeps.items() if MEAN in sweep.group]
    swept = levels(evaluate, catalog, context)
    results = []
    with track("conditions", len(swept), 0) as bar:
        for level in swept:
            numbers = np.arange(len(data.truth_N))
            if level.condition in averaged:
                numbers = numbers[averaged.index(level.condition) % thin :: thin]
            chain = condition_chain(evaluate, level, catalog, context)
            results.append(LevelResult(level, numbers, _probabilities(fast, data, numbers, chain)))
            bar.advance(1, level.condition)
    return results


@torch.no_grad()
def _probabilities(model: Model, data: Labelled, numbers_N: np.ndarray, chain: Chain) -> np.ndarray:
    """The probabilities of the samples `numbers_N` after a chain of degradations, float32 [N, K]."""
    parts = []
    for first in range(0, len(numbers_N), _BATCH):
        numbers = numbers_N[first : first + _BATCH]
        part = np.ascontiguousarray(data.frames_NTHWC[numbers].transpose(0, 1, 4, 2, 3))
        frames = chain(as_float(torch.from_numpy(part), model.device), np.zeros_like(numbers), numbers)
        parts += [model(chunk)[data.target].cpu().numpy() for chunk in frames.clamp(0, 1).split(_CHUNK)]
    return np.concatenate(parts) if parts else np.zeros((0, len(model.labels[data.target])), np.float32)
