"""Checks of a dataset."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Dataset, Sample, Target
from blear.contracts.dataset import MOST_FLOAT
from blear.errors import BlearError
from blear.plugin.catalog import RegisteredComponent
from blear.plugin.conformance.checks import Check, NotCheckedError, expect, for_each_example

_SAMPLES = 20
_KEY = re.compile(r"[A-Za-z0-9_/-]+")


def dataset_checks(registered: RegisteredComponent) -> Iterator[Check]:
    """Iterates over the checks of each example."""
    requirements: dict[str, Callable[[Any], None]] = {
        "declares its content": _declares_content,
        "samples fit their declaration": _fits,
        "returns the same samples twice": _same_twice,
        "keys are unique": _unique,
        "unknown splits and parts are errors": _refuses,
    }
    return for_each_example(registered, requirements, lambda example: _build(registered, example))


def _build(registered: RegisteredComponent, example: Any) -> Any:
    source = example.get("source")
    if source is not None and "://" not in str(source) and not Path(source).exists():
        raise NotCheckedError(f"the example's raw data is missing: {source}")
    return registered.build(example, BuildContext(seed=1))


def _declares_content(dataset: Any) -> None:
    expect(isinstance(dataset, Dataset), "build", "the attributes and methods of contracts.Dataset", type(dataset))
    expect(len(dataset.targets) > 0, "targets", "at least one Target", "none")
    for target in dataset.targets:
        expect(isinstance(target, Target), "targets", "Target objects", type(target).__name__)
        if target.kind != "value":
            expect(
                isinstance(target.classes, tuple), "targets", "a tuple of class names", type(target.classes).__name__
            )
            count = len(set(target.classes))
            expect(count == len(target.classes) > 1, "targets", f"two classes or more in {target.name!r}", count)
    splits = list(dataset.splits)
    expect(0 < len(set(splits)) == len(splits), "splits", "distinct names, the training split first", splits)
    clip = dataset.clip
    expect(isinstance(clip, ClipSpec), "clip", "a ClipSpec", type(clip).__name__)
    expect(min(clip.length, clip.channels, clip.height, clip.width) > 0, "clip", "sizes above 0", clip)
    expect(bool(str(dataset.terms).strip()), "terms", "licence and source of the raw data", "nothing")
    for split in splits:
        expect(len(dataset.parts(split)) > 0, f"parts({split!r})", "at least one part", "none")


def _fits(dataset: Any) -> None:
    expect(isinstance(dataset, Dataset), "build", "the attributes and methods of contracts.Dataset", type(dataset))
    clip, targets = dataset.clip, {target.name: target for target in dataset.targets}
    for split, sample in _some(dataset):
        method = f"samples({split!r}), key {sample.key!r}"
        expect(bool(_KEY.fullmatch(sample.key)), method, f"a key of {_KEY.pattern}", repr(sample.key))
        frames = sample.frames
        kind = f"{getattr(frames, 'dtype', None)} {getattr(frames, 'shape', None)}"
        sized = isinstance(frames, np.ndarray) and frames.dtype in (np.uint8, np.float32) and frames.ndim == 4
        length = clip.length if clip.shortest is None else f"{clip.shortest}..{clip.length}"
        wanted = f"uint8 or float32 [T, H, W, C] with T = {length}, {clip.height} x {clip.width} x {clip.channels}"
        fits = sized and frames.shape[1:] == (clip.height, clip.width, clip.channels)
        fits = fits and (clip.shortest or clip.length) <= len(frames) <= clip.length
        expect(bool(fits), f"{method}, frames", wanted, kind)
        expect(bool(np.isfinite(frames).all()), f"{method}, frames", "finite numbers", "NaN or infinity")
        largest = float(abs(frames).max()) if frames.dtype == np.float32 else 0.0
        expect(largest <= MOST_FLOAT, f"{method}, frames", "float32 in about [0, 1], or uint8", f"{largest:g}")
        for name in ("subject", "video"):
            value = getattr(sample, name)
            expect(isinstance(value, str), f"{method}, {name}", "a text", repr(value))
        right = sample.time is None or (
            isinstance(sample.time, int | float | np.number) and not isinstance(sample.time, bool)
        )
        expect(right, f"{method}, time", "seconds or None", repr(sample.time))
        for name, value in sample.meta.items():
            expect(
                isinstance(value, str | int | float | np.number),
                f"{method}, meta[{name!r}]",
                "a text or number",
                repr(value),
            )
        expect(set(sample.targets) == set(targets), f"{method}, targets", str(sorted(targets)), sorted(sample.targets))
        for name, value in sample.targets.items():
            _fits_target(method, targets[name], value)


def _fits_target(method: str, target: Target, value: Any) -> None:
    where = f"{method}, target {target.name!r}"
    if target.kind == "class":
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        inside = whole and 0 <= value < len(target.classes)
        expect(bool(inside), where, f"a class index in 0..{len(target.classes) - 1}", repr(value))
        return
    if target.kind == "distribution":
        shares_K = np.asarray(value, dtype=np.float64)
        inside = shares_K.shape == (len(target.classes),) and (shares_K >= 0).all() and abs(shares_K.sum() - 1) < 1e-4
        expect(bool(inside), where, f"{len(target.classes)} shares from 0 that sum to 1", repr(value))
        return
    low, high = target.bounds or (-np.inf, np.inf)
    inside = isinstance(value, float | int | np.floating) and low <= value <= high and np.isfinite(value)
    expect(bool(inside), where, f"a finite number in {low}..{high}", repr(value))


def _same_twice(dataset: Any) -> None:
    for (split, first), (_, again) in zip(_some(dataset), _some(dataset), strict=True):
        alike = first.key == again.key and first.targets.keys() == again.targets.keys()
        alike = alike and all(np.array_equal(label, again.targets[name]) for name, label in first.targets.items())
        alike = alike and np.array_equal(first.frames, again.frames)
        expect(alike, f"samples({split!r})", f"sample {first.key!r} as the first time", f"another {again.key!r}")


def _unique(dataset: Any) -> None:
    for split in dataset.splits:
        seen: set[str] = set()
        for part in dataset.parts(split):
            for sample in itertools.islice(dataset.samples(split, part), 1000):
                expect(sample.key not in seen, f"samples({split!r}, {part!r})", "unique keys", f"{sample.key!r} twice")
                seen.add(sample.key)


def _refuses(dataset: Any) -> None:
    split = dataset.splits[0]
    calls = {
        "parts('no_such_split')": lambda: list(dataset.parts("no_such_split")),
        f"samples({split!r}, 'no_such_part')": lambda: list(dataset.samples(split, "no_such_part")),
    }
    for method, call in calls.items():
        try:
            got = f"{len(call())} of them"
        except BlearError:
            continue
        except Exception as error:  # noqa: BLE001  the message names it
            got = f"{type(error).__name__}: {error}"
        expect(False, method, "a DataError that lists the known names", got)


def _some(dataset: Any) -> Iterator[tuple[str, Sample]]:
    """Iterates over (split, sample) of the first samples of the first part of each split."""
    for split in dataset.splits:
        for sample in itertools.islice(dataset.samples(split, dataset.parts(split)[0]), _SAMPLES):
            yield split, sample
