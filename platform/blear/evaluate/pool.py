"""Pools rows of the predictions table to one decision: the frames of a video, or the windows of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from blear.errors import RunError
from blear.evaluate.predictions import META, ROWS, SCHEMA, TRUTH_SHARES, class_names, is_distribution

_KEYS = ("arm", "condition", "severity", "target", "seed")
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)  # lower bound of a probability that float32 rounds to 0
_FILE = "predictions.parquet"

PoolScore = Literal["mean_logits", "sum_probabilities"]


def pool_predictions(table: pa.Table, by: Literal["sample", "video"], score: PoolScore = "mean_logits") -> pa.Table:
    """Pools rows to one row for each (arm, condition, severity, target, seed, sample or video), in order of appearance.

    Rows without a found face are ignored, except for the bit rate. A decision of such rows alone has no found face and
    no prediction.

    Classes: `mean_logits` is the softmax of the mean of the log-probabilities (they differ from the logits by a
    constant of each row); `sum_probabilities` is the sum of the probabilities divided by its total. The prediction is
    the most probable class. Regression: prediction and truth are means. Distributions: the true shares are means, and
    the true class is the one with the largest mean share. Face width and bit rate are means, the time is that of the
    first row, and the metadata are the entries that all rows share. The column `ROWS` has the number of rows.

    Args:
        table: a table from `read_predictions`.
        by: the column whose equal values form one decision. With `video`, the video's name becomes the sample's name.
        score: how probabilities are pooled.

    Raises:
        RunError: a row has no video name, the rows of one decision have several true classes, or a probability is not
            finite.
    """
    codes_N, first_G = _decisions(table, by)
    count = len(first_G)
    found_N = table["found"].to_numpy(zero_copy_only=False).astype(bool)
    found_G = np.bincount(codes_N, found_N, count) > 0
    classes = class_names(table)
    columns = {name: table[name].take(pa.array(first_G)) for name in ("arm", "stage", *_KEYS[1:], "time")}
    videos, subjects = table["video"].to_pylist(), table["subject"].to_pylist()
    truth_N = table["truth"].to_numpy().astype(np.float64)
    shares: pa.Array = pa.nulls(count, SCHEMA.field(TRUTH_SHARES).type)
    if classes:
        truth_G = truth_N[first_G]
        if is_distribution(table):
            shares_GK = _mean_shares(table, codes_N, count)
            shares, truth_G = _lists(shares_GK), shares_GK.argmax(axis=1).astype(np.float64)
        else:
            _require_same_class(truth_N, truth_G[codes_N], table, by)
        probabilities_GK = _probabilities(table, codes_N, found_N, count, score)
        prediction_G = probabilities_GK.argmax(axis=1).astype(np.float64)
        probabilities = _probability_lists(probabilities_GK, found_G)
    else:
        truth_G = _means(truth_N, codes_N, np.ones_like(found_N), count)  # a NaN remains, the summary rejects it
        prediction_G = _means(table["prediction"].to_numpy().astype(np.float64), codes_N, found_N, count)
        probabilities = pa.nulls(count, SCHEMA.field("probabilities").type)
    columns |= {
        "sample": table[by].take(pa.array(first_G)),
        "video": pa.array(_common_names(videos, codes_N, count)),
        "subject": pa.array(_common_names(subjects, codes_N, count)),
        "kbps": _known_mean(table, "kbps", codes_N, np.ones_like(found_N), count),
        "face_px": _known_mean(table, "face_px", codes_N, found_N, count),
        "found": pa.array(found_G),
        "truth": pa.array(truth_G),
        "prediction": pa.array(np.where(found_G, prediction_G, 0.0), mask=~found_G),
        "probabilities": probabilities,
        META: _common_metadata(table, codes_N, count),
        TRUTH_SHARES: shares,
    }
    pooled = pa.table(columns).select(SCHEMA.names).cast(SCHEMA.with_metadata(table.schema.metadata))
    return pooled.append_column(ROWS, pa.array(np.bincount(codes_N, minlength=count), pa.int64()))


def _decisions(table: pa.Table, by: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the decision index of each row [N] and the first row of each decision [G], in order of appearance."""
    names = np.asarray(table[by].to_pylist(), dtype=object)
    if by == "video" and (unnamed := sum(not name for name in names)):
        do = "pool by sample, or set `video` of the samples in the dataset"
        raise RunError(f"{unnamed} rows have no video name", _FILE, do)
    columns = [table[key].combine_chunks().dictionary_encode().indices.to_numpy() for key in (*_KEYS, by)]
    _, first, inverse = np.unique(np.stack(columns), axis=1, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse.ravel()], first[order]


def _probabilities(
    table: pa.Table, codes_N: np.ndarray, found_N: np.ndarray, count: int, score: PoolScore
) -> np.ndarray:
    """Pools the probabilities to float64 [G, K]; rows of zeros where no face was found."""
    lists = table["probabilities"].combine_chunks()
    rows_N = np.flatnonzero(found_N)
    classes = len(class_names(table))
    flat = lists.take(pa.array(rows_N)).flatten().to_numpy().astype(np.float64)
    if len(flat) != len(rows_N) * classes:
        raise RunError(f"the probabilities do not have {classes} classes", _FILE, "evaluate the run again")
    probabilities_RK = flat.reshape(-1, classes)
    if not np.isfinite(probabilities_RK).all():
        row = int(rows_N[np.flatnonzero(~np.isfinite(probabilities_RK).all(axis=1))[0]])
        where = f"arm {table['arm'][row]}, sample {table['sample'][row]}"
        raise RunError(
            f"a probability is not finite ({where})", _FILE, "this stage diverged: train it with a lower learning rate"
        )
    if score == "mean_logits":
        probabilities_RK = np.log(np.maximum(probabilities_RK, _SMALLEST))
    rows_G = np.bincount(codes_N[rows_N], minlength=count)
    sums_GK = np.stack([np.bincount(codes_N[rows_N], column, count) for column in probabilities_RK.T], axis=1)
    if score == "mean_logits":
        means_GK = sums_GK / np.maximum(rows_G, 1)[:, None]
        sums_GK = np.exp(means_GK - means_GK.max(axis=1, keepdims=True)) * (rows_G > 0)[:, None]
    total_G1 = sums_GK.sum(axis=1, keepdims=True)
    return np.divide(sums_GK, total_G1, out=np.zeros_like(sums_GK), where=total_G1 > 0)


def _means(values_N: np.ndarray, codes_N: np.ndarray, counted_N: np.ndarray, count: int) -> np.ndarray:
    """Computes the mean of the counted values of each decision; NaN where none is counted."""
    rows_N = np.flatnonzero(counted_N)
    number_G = np.bincount(codes_N[rows_N], minlength=count)
    sums_G = np.bincount(codes_N[rows_N], values_N[rows_N], count)
    return np.divide(sums_G, number_G, out=np.full(count, np.nan), where=number_G > 0)


def _known_mean(table: pa.Table, name: str, codes_N: np.ndarray, counted_N: np.ndarray, count: int) -> pa.Array:
    """Computes the mean of the known values of a column in the counted rows; null where no value is known."""
    values_N = table[name].to_numpy().astype(np.float64)  # null becomes NaN
    return pa.array(_means(values_N, codes_N, counted_N & np.isfinite(values_N), count), from_pandas=True)


def _probability_lists(probabilities_GK: np.ndarray, found_G: np.ndarray) -> pa.Array:
    """Converts probabilities to one list for each decision; null where no face was found."""
    return _lists(probabilities_GK, found_G)


def _lists(values_GK: np.ndarray, valid_G: np.ndarray | None = None) -> pa.Array:
    """Converts rows to lists of float32; null where `valid_G` is False."""
    lists = values_GK.astype(np.float32).tolist()
    valid = [True] * len(lists) if valid_G is None else valid_G.tolist()
    return pa.array(
        [one if given else None for one, given in zip(lists, valid, strict=True)], SCHEMA.field("probabilities").type
    )


def _mean_shares(table: pa.Table, codes_N: np.ndarray, count: int) -> np.ndarray:
    """Computes the mean of the true shares of each decision, float64 [G, K]."""
    flat = table[TRUTH_SHARES].combine_chunks().flatten().to_numpy().astype(np.float64)
    shares_NK = flat.reshape(len(codes_N), -1)
    sums_GK = np.stack([np.bincount(codes_N, column, count) for column in shares_NK.T], axis=1)
    return sums_GK / np.bincount(codes_N, minlength=count)[:, None]


def _common_names(names: Sequence[str], codes_N: np.ndarray, count: int) -> list[str]:
    """Returns the common name of all rows of each decision; empty where the rows differ."""
    found: list[set[str]] = [set() for _ in range(count)]
    for name, code in zip(names, codes_N.tolist(), strict=True):
        found[code].add(name)
    return [next(iter(one)) if len(one) == 1 else "" for one in found]


def _common_metadata(table: pa.Table, codes_N: np.ndarray, count: int) -> pa.Array:
    """Returns the metadata entries that all rows of a decision share."""
    column, kind = table[META], SCHEMA.field(META).type
    if column.null_count == len(column):
        return pa.nulls(count, kind)
    common: list[dict[str, str] | None] = [None] * count
    for row, code in zip(column.to_pylist(), codes_N.tolist(), strict=True):
        own, so_far = dict(row or ()), common[code]
        common[code] = own if so_far is None else {k: v for k, v in so_far.items() if own.get(k) == v}
    return pa.array([list((one or {}).items()) or None for one in common], kind)


def _require_same_class(truth_N: np.ndarray, first_N: np.ndarray, table: pa.Table, by: str) -> None:
    wrong_N = np.flatnonzero(truth_N != first_N)
    if len(wrong_N):
        name = table[by][int(wrong_N[0])]
        do = "pool by sample, or label each video with one class"
        raise RunError(f"the rows of {by} {name} have more than one true class", _FILE, do)
