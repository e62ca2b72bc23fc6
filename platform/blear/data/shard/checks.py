"""Checks of a sample before it is written: key, frames, targets and columns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blear.contracts import ClipSpec, Sample, ShardSample, Target
from blear.contracts.dataset import MOST_FLOAT
from blear.data.shard.sample_metadata import to_python_number
from blear.errors import DataError

_KEY = re.compile(r"[A-Za-z0-9_/-]+")
BOUNDS_TOLERANCE = 1e-6
"""Tolerance of a target's bounds, for the rounding of float32 labels."""
SHARES_TOLERANCE = 1e-4
"""Tolerance of the sum of a distribution's shares."""


def check_sample(sample: Sample, clip: ClipSpec, targets: Sequence[Target], where: str) -> None:
    """Checks key, frames, targets and columns of a sample.

    Args:
        sample: to check.
        clip: declared shape of the frames.
        targets: declared targets.
        where: dataset, split and part, for messages.

    Raises:
        DataError: the first problem; names `where` and the sample's key.
    """
    if not isinstance(sample, Sample):
        raise DataError(f"not a Sample: {type(sample).__name__}", where, "fix the dataset's reader")
    problem = (
        key_problem(sample.key)
        or frames_problem(sample, clip)
        or targets_problem(sample.targets, targets)
        or columns_problem(sample)
    )
    if problem:
        raise DataError(problem, f"{where}, sample {sample.key}", "fix the dataset's reader or its raw files")


def key_problem(key: str) -> str:
    """Returns why a key cannot name members of a tar; empty if it can."""
    if _KEY.fullmatch(key) and not key.startswith("/") and not key.rpartition("/")[2].startswith("__"):
        return ""
    return f"key {key!r}: use letters, digits, '_', '-' and '/' only, no '/' first and no '__' before the name"


def frames_problem(sample: Sample, clip: ClipSpec) -> str:
    """Returns the first problem of a sample's clips; empty if there is none."""
    expected = (clip.length, clip.height, clip.width, clip.channels)
    for name, array in (("frames", sample.frames), ("clean", sample.clean)):
        if not isinstance(array, np.ndarray) and (name == "frames" or array is not None):
            return f"{name} are {type(array).__name__}, expected a NumPy array"
    shape, min_length = sample.frames.shape, clip.length if clip.shortest is None else clip.shortest
    if len(shape) != 4 or shape[1:] != expected[1:] or not min_length <= shape[0] <= clip.length:
        fewer = "" if clip.shortest is None else f" with {clip.shortest} frames or more"
        return f"frames have shape {shape}, the dataset's clip says {expected} [T, H, W, C]{fewer}"
    if sample.clean is not None and clip.shortest is not None:
        return "clips that differ in length cannot carry a clean clip"
    if sample.clean is not None and (sample.clean.ndim != 4 or not sample.clean.size):
        return f"clean has shape {sample.clean.shape}, expected [T, H, W, C]"
    for name, array in (("frames", sample.frames), ("clean", sample.clean)):
        if array is None or array.dtype == np.uint8:
            continue
        if array.dtype != np.float32:
            return f"{name} are {array.dtype}, expected uint8 or float32"
        if not np.isfinite(array).all():
            return f"{name} hold values that are not finite"
        if (largest := float(np.abs(array).max(initial=0.0))) > MOST_FLOAT:
            return (
                f"{name} are float32 with values up to {largest:g}, expected about [0, 1]; divide by 255, or use uint8"
            )
    return ""


def targets_problem(given: Mapping[str, Any], targets: Sequence[Target]) -> str:
    """Returns the first problem of a sample's labels; empty if there is none."""
    names = {target.name for target in targets}
    if given.keys() != names:
        return f"targets are {sorted(given)}, the dataset declares {sorted(names)}"
    for target in targets:
        value = given[target.name]
        if target.kind == "class":
            if (
                isinstance(value, bool)
                or not isinstance(value, int | np.integer)
                or not 0 <= value < len(target.classes)
            ):
                return f"target {target.name} is {value!r}, expected a class index below {len(target.classes)}"
            continue
        if target.kind == "distribution":
            if not _is_distribution(value, len(target.classes)):
                return f"target {target.name} is {value!r}, expected {len(target.classes)} shares from 0 that sum to 1"
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
            return f"target {target.name} is {value!r}, expected a finite number"
        if (
            target.bounds is not None
            and not target.bounds[0] - BOUNDS_TOLERANCE <= value <= target.bounds[1] + BOUNDS_TOLERANCE
        ):
            return f"target {target.name} is {value!r}, outside {list(target.bounds)}"
    return ""


def columns_problem(sample: Sample | ShardSample) -> str:
    """Returns the first problem of `subject`, `video`, `time` and `meta`; empty if there is none."""
    for name, value in (("subject", sample.subject), ("video", sample.video)):
        if not isinstance(value, str):
            return f"{name} is {value!r}, expected text"
    time = sample.time
    if time is not None and (isinstance(time, bool) or not isinstance(time, int | float | np.number)):
        return f"time is {time!r}, expected seconds"
    if not isinstance(sample.meta, Mapping) or not all(isinstance(name, str) for name in sample.meta):
        return f"meta is {sample.meta!r}, expected columns with names"
    columns = [sample.subject, sample.video, dict(sample.meta)]
    try:
        json.dumps(columns, default=to_python_number, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:  # ValueError: a text that is no UTF-8
        return f"subject, video or meta cannot be stored: {error}"
    return ""


def _is_distribution(value: Any, classes: int) -> bool:
    try:
        shares_K = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return (
        shares_K.shape == (classes,)
        and bool((shares_K >= 0).all())  # False for NaN
        and abs(float(shares_K.sum()) - 1) <= SHARES_TOLERANCE
    )
