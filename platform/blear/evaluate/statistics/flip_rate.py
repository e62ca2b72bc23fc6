"""Flip rate of ImageNet-P: how often the predicted class changes between the frames of a slowly changing clip.

Hendrycks and Dietterich 2019 (arXiv 1903.12261, section 4.2, "flip probability"). The flip rate
of a clip with the decisions d_1, ..., d_T is the share of t >= 2 with d_t != d_(t-1). The frames of noise have no
order: their flip rate is the share with d_t != d_1. The flip rate of a condition is the mean over its clips.

    table = read_predictions(run / "predictions.parquet")
    clips = clip_flips(table)                    # one row for each clip
    rates = flip_rates(clips)                    # {(arm, condition, severity): 0.12}
    noise = flip_rates(clip_flips(table, against="first"))

The degradation `corruptions/imagenet_p` makes such clips. The table must have one row for each frame, as before `pool`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa

from blear.errors import RunError

Condition = tuple[str, str, float]
"""(arm, condition, severity)."""

_CLIP = ("arm", "condition", "severity", "target", "seed", "sample")


def clip_flips(table: pa.Table, against: Literal["previous", "first"] = "previous") -> pa.Table:
    """Computes the flip rate of every clip of at least two frames.

    Args:
        table: rows of the predictions table, the frames of a clip in sequence. A frame without a decision (null)
            counts as a separate class: a lost face is a flip, and so is its return.
        against: the earlier decision that each decision is compared with. "first" is for noise.

    Returns:
        The columns arm, condition, severity, target, seed, sample, subject, video, frames (their number) and flip_rate,
        one row for each clip in order of appearance.

    Raises:
        RunError: the rows are of a regression target, or no clip has two frames.
    """
    regression = table.num_rows > 0 and table["probabilities"].null_count == table.num_rows
    if regression:
        raise RunError("a regression target has no flip rate", "predictions", "name a target with classes")
    clip_N = _clip_numbers(table)
    order_N = np.argsort(clip_N, kind="stable")
    clip_N = clip_N[order_N]
    decision_N = table["prediction"].fill_null(-1).to_numpy()[order_N]
    starts_C = np.flatnonzero(np.diff(clip_N, prepend=-1))
    frames_C = np.diff(np.append(starts_C, len(clip_N)))
    if not (frames_C > 1).any():
        raise RunError(
            "no clip has two frames", "predictions", "evaluate clips, with a model that predicts every frame"
        )
    earlier_N = np.roll(decision_N, 1) if against == "previous" else decision_N[starts_C].repeat(frames_C)
    flipped_N = decision_N != earlier_N
    flipped_N[starts_C] = False
    flips_C = np.add.reduceat(flipped_N.astype(np.int64), starts_C)
    kept = frames_C > 1
    rows = table.select([*_CLIP, "subject", "video"]).take(order_N[starts_C[kept]])
    rates = flips_C[kept] / (frames_C[kept] - 1)
    return rows.append_column("frames", pa.array(frames_C[kept])).append_column("flip_rate", pa.array(rates))


def flip_rates(clips: pa.Table) -> Mapping[Condition, float]:
    """Returns the mean flip rate of the clips (from `clip_flips`) of each arm, condition and severity, in [0, 1]."""
    keys = ["arm", "condition", "severity"]
    means = clips.group_by(keys, use_threads=False).aggregate([("flip_rate", "mean")])
    names = zip(*(means[key].to_pylist() for key in keys), strict=True)
    return dict(zip(names, means["flip_rate_mean"].to_pylist(), strict=True))


def _clip_numbers(table: pa.Table) -> np.ndarray:
    """Returns the index of each row's clip, int64 [N]; clips are numbered in order of appearance."""
    number_N = np.zeros(table.num_rows, dtype=np.int64)
    for name in _CLIP:
        codes = table[name].combine_chunks().dictionary_encode()
        indices = codes.indices.fill_null(len(codes.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
        _, number_N = np.unique(number_N * (len(codes.dictionary) + 1) + indices, return_inverse=True)
    _, first_N, inverse = np.unique(number_N, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first_N))[inverse]
