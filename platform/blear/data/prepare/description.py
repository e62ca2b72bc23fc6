"""Describes a dataset before it is prepared: `blear prepare DATASET SOURCE --describe`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from blear.contracts import BuildContext, Dataset, Described, Target
from blear.data.shard.checks import check_sample
from blear.errors import DataError
from blear.plugin.catalog import RegisteredComponent

READ_S = 20.0
"""Time limit of counting samples, shared by the splits."""


def describe_dataset(
    registered: RegisteredComponent, given: Mapping[str, Any], seed: int = 0, read_s: float = READ_S
) -> Iterator[str]:
    """Yields lines of text: targets, splits, clip and terms; then parts, samples and classes of each split.

    Samples are counted by reading them; nothing is written. Where `source` is missing or unreadable, the terms are
    yielded, because they name the place of the raw data.

    Args:
        registered: the dataset component.
        given: its parameters.
        seed: the job's seed, which procedural data depend on.
        read_s: seconds after which counting stops.

    Raises:
        PluginError: the parameters are wrong.
        DataError: raised by the dataset, after the terms were yielded.
    """
    yield f"{registered.name}: {registered.component.summary}"
    fields = registered.component.params.model_fields
    if "source" in fields and fields["source"].is_required() and "source" not in given:
        yield from _terms(registered)
        yield f"missing: source, {fields['source'].description}"
        return
    registered.checked_params(given)
    try:
        dataset: Dataset = registered.build(given, BuildContext(seed=seed))
        splits = list(dataset.splits)
    except DataError:
        yield from _terms(registered)
        raise
    yield f"terms: {dataset.terms}"
    yield f"targets: {'; '.join(map(_target, dataset.targets))}"
    clip = dataset.clip
    yield f"clip: {clip.length} frames of {clip.width}x{clip.height}, {clip.channels} channels"
    if isinstance(dataset, Described):
        yield from (f"{name}: {text}" for name, text in dataset.describe().items())
    end = time.monotonic() + read_s
    for left, split in zip(range(len(splits), 0, -1), splits, strict=True):
        now = time.monotonic()
        yield from _split(dataset, split, now + (end - now) / left)


def _terms(registered: RegisteredComponent) -> Iterator[str]:
    terms = registered.attribute("terms")
    if isinstance(terms, str):
        yield f"terms: {terms}"


def _target(target: Target) -> str:
    """Formats name and kind of a target."""
    if target.kind == "class":
        return f"{target.name}, one of {', '.join(target.classes)}"
    if target.kind == "distribution":
        return f"{target.name}, a distribution over {', '.join(target.classes)}"
    return f"{target.name}, a value{f' within {list(target.bounds)}' if target.bounds is not None else ''}"


@dataclass(frozen=True)
class SplitCounts:
    """Samples of a split.

    Attributes:
        samples: number of samples that were read.
        classes: class target -> number of samples of each class.
        complete: whether all samples were read.
    """

    samples: int
    classes: dict[str, list[int]]
    complete: bool


def count_samples(dataset: Dataset, split: str, until: float) -> SplitCounts:
    """Counts the samples of a split by reading them, until the time `until` of `time.monotonic`.

    Raises:
        DataError: raised by the dataset, or a sample breaks the contract.
    """
    names = {target.name: target.classes for target in dataset.targets if target.kind == "class"}
    counts = {name: [0] * len(classes) for name, classes in names.items()}
    samples = 0
    named = ((part, sample) for part in dataset.parts(split) for sample in dataset.samples(split, part))
    for part, sample in named:
        if time.monotonic() > until:
            return SplitCounts(samples, counts, complete=False)
        check_sample(sample, dataset.clip, dataset.targets, f"split {split}, part {part}")
        samples += 1
        for name, per_class in counts.items():
            per_class[cast("int", sample.targets[name])] += 1
    return SplitCounts(samples, counts, complete=True)


def _split(dataset: Dataset, split: str, until: float) -> Iterator[str]:
    parts = len(list(dataset.parts(split)))
    classes = {target.name: target.classes for target in dataset.targets if target.kind == "class"}
    counts = count_samples(dataset, split, until)
    samples = counts.samples
    found = f"{samples} samples" if counts.complete else f"more than {samples} samples (not all were read)"
    yield f"split {split}: {parts} parts, {found}"
    for name, per_class in counts.classes.items():
        if samples:
            yield f"  {name}: {', '.join(f'{n} {k}' for k, n in zip(classes[name], per_class, strict=True))}"
