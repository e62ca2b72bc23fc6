"""Resamples of clusters, the same ones for every arm and condition: bootstrap, jackknife and exchanges.

Where a metric names `from_sums`, all resamples are one matrix product of how often each cluster is drawn with what each
cluster adds; else the metric is computed for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from blear.contracts import Metric
from blear.evaluate.statistics.bootstrap import distributions, draw, evaluate
from blear.evaluate.statistics.spread import Spread
from blear.metrics import moments

_MOST_GROUPS = 200
_EXACT = 12
_BLOCK = 512
_AGREE = 1e-6


@dataclass(frozen=True)
class Rows:
    """Decisions of one arm: truth, prediction and cluster of each; `classes` is 0 for values."""

    truth_N: np.ndarray
    prediction_N: np.ndarray
    clusters_N: np.ndarray
    classes: int


@dataclass(frozen=True)
class Resampler:
    """What is drawn of K clusters.

    Args:
        clusters: K.
        resamples: of the bootstrap, and of exchanges where a metric has no `from_sums`; 0: no intervals.
        exchanges: random exchanges otherwise; up to 2^12 all of them are made.
    """

    clusters: int
    resamples: int
    seed: int
    exchanges: int = 9999

    @cached_property
    def draws_RK(self) -> np.ndarray:
        """Clusters of each resample."""
        return draw(self.clusters, self.resamples, self.seed)

    def _weights_RK(self, dtype: np.dtype) -> np.ndarray:
        """How often each cluster is in each resample."""
        return self._singles_RK if dtype == np.float32 else self._doubles_RK

    @cached_property
    def _doubles_RK(self) -> np.ndarray:
        return self._singles_RK.astype(np.float64)

    @cached_property
    def _singles_RK(self) -> np.ndarray:
        cells = self.draws_RK + np.arange(self.resamples)[:, None] * self.clusters
        counts = np.bincount(cells.ravel(), minlength=self.resamples * self.clusters)
        return counts.reshape(self.resamples, self.clusters).astype(np.float32)

    def spread(self, rows: Rows, metric: Metric) -> Spread:
        """One metric with its resamples and jackknife."""
        return self.spreads(rows, [metric])[0]

    def spreads(self, rows: Rows, metrics: Sequence[Metric]) -> list[Spread]:
        """Metrics with their resamples and jackknife.

        `compute` is the definition: where `from_sums` gives something else, as of a nearly constant series, whose sums
        cancel, the metric is computed for each resample.
        """
        out: list[Spread] = []
        summed: tuple[np.ndarray, ...] = ()
        for metric in metrics:
            value = evaluate(metric.compute, rows.truth_N, rows.prediction_N)
            if metric.from_sums is not None:
                if not summed:
                    sums_KS, shape = self._sums(rows, _middle(rows))
                    total_S, drawn_RS = sums_KS.sum(axis=0, dtype=np.float64), self._weights_RK(sums_KS.dtype) @ sums_KS
                    parts = (total_S[None], drawn_RS.astype(np.float64), total_S - sums_KS)
                    summed = tuple(part.reshape(-1, *shape) for part in parts)
                of_all, drawn, without = (metric.from_sums(part) for part in summed)
                if _agree(of_all[0], value):
                    out.append(Spread(float(of_all[0]), drawn, without))
                    continue
            pair = [(rows.truth_N, rows.prediction_N)]
            out_R = distributions(self.draws_RK, rows.clusters_N, pair, [metric.compute])[:, 0, 0]
            out.append(Spread(value, out_R, self._jackknife(rows, metric)))
        return out

    def mean(self, values_N: np.ndarray, clusters_N: np.ndarray) -> Spread:
        """The mean of some values."""
        sums_K2 = np.stack([np.bincount(clusters_N, w, self.clusters) for w in (values_N, np.ones(len(values_N)))], 1)
        total_2 = sums_K2.sum(axis=0)
        with np.errstate(all="ignore"):
            means = [each[..., 0] / each[..., 1] for each in (total_2, self._doubles_RK @ sums_K2, total_2 - sums_K2)]
        return Spread(float(means[0]), means[1], means[2])

    def exchanged(self, a: Rows, b: Rows, metric: Metric) -> np.ndarray:
        """Metric of a minus that of b where the two arms' answers are exchanged in random clusters, [P].

        The same clusters for every call; all 2^K ways where K is at most 12.
        """
        if metric.from_sums is None:
            return self._exchanged_slowly(a, b, metric)
        middle = _middle(a)
        (sums_a_KS, shape), (sums_b_KS, _) = self._sums(a, middle), self._sums(b, middle)
        gain_KS = sums_b_KS - sums_a_KS
        moving = np.flatnonzero(gain_KS.any(axis=1))
        total_a_S, total_b_S = (sums.sum(axis=0, dtype=np.float64) for sums in (sums_a_KS, sums_b_KS))
        gain_KS = gain_KS[moving]
        for total_S, rows in ((total_a_S, a), (total_b_S, b)):
            value = evaluate(metric.compute, rows.truth_N, rows.prediction_N)
            if not _agree(metric.from_sums(total_S.reshape(1, *shape))[0], value):
                return self._exchanged_slowly(a, b, metric)
        out = []
        for start in range(0, len(self._masks), _BLOCK):
            mask_PK = np.unpackbits(self._masks[start : start + _BLOCK], axis=1)[:, moving]
            moved_PS = mask_PK.astype(gain_KS.dtype) @ gain_KS
            ours = metric.from_sums((total_a_S + moved_PS).reshape(-1, *shape))
            out.append(ours - metric.from_sums((total_b_S - moved_PS).reshape(-1, *shape)))
        return np.concatenate(out)

    @property
    def exact(self) -> bool:
        """Whether exchanges are all there are."""
        return self.clusters <= _EXACT

    @cached_property
    def _masks(self) -> np.ndarray:
        """Packed bits [P, K / 8]: whether a cluster is exchanged."""
        if self.exact:
            ways = np.arange(2**self.clusters)
            return np.packbits((ways[:, None] >> np.arange(self.clusters)) & 1, axis=1)
        shape = (self.exchanges, -(-self.clusters // 8))
        return np.random.default_rng([self.seed, 1]).integers(256, size=shape, dtype=np.uint8)

    def _sums(self, rows: Rows, middle: float) -> tuple[np.ndarray, tuple[int, ...]]:
        """What each cluster adds, [K, S], and the shape that `from_sums` takes; `middle` is subtracted from values."""
        if rows.classes:
            kinds = rows.classes**2
            truth, prediction = rows.truth_N.astype(np.int64), rows.prediction_N.astype(np.int64)
            cells = (rows.clusters_N * rows.classes + truth) * rows.classes + prediction
            counts = np.bincount(cells, minlength=self.clusters * kinds).astype(np.float32)  # exact below 2^24
            return counts.reshape(self.clusters, kinds), (rows.classes, rows.classes)
        each_N6 = moments(rows.truth_N - middle, rows.prediction_N - middle)
        columns = [np.bincount(rows.clusters_N, column, self.clusters) for column in each_N6.T]
        return np.stack(columns, axis=1), (6,)

    def _jackknife(self, rows: Rows, metric: Metric) -> np.ndarray:
        """Without each cluster; of more than 200, without each of 200 groups of clusters (Shao and Wu 1989)."""
        if not self.resamples:
            return np.empty(0)
        part_K = np.arange(self.clusters) * min(self.clusters, _MOST_GROUPS) // self.clusters
        part_N = part_K[rows.clusters_N]
        keep = (part_N != part for part in range(int(part_K[-1]) + 1))
        return np.array([evaluate(metric.compute, rows.truth_N[k], rows.prediction_N[k]) for k in keep])

    def _exchanged_slowly(self, a: Rows, b: Rows, metric: Metric) -> np.ndarray:
        masks = self._masks if self.exact else self._masks[: self.resamples]
        out = np.empty(len(masks))
        for p, packed in enumerate(masks):
            mask_K = np.unpackbits(packed).astype(bool)
            from_b_A, from_b_B = mask_K[a.clusters_N], mask_K[b.clusters_N]
            sides = [
                (np.concatenate([x.truth_N[~i], y.truth_N[j]]), np.concatenate([x.prediction_N[~i], y.prediction_N[j]]))
                for x, i, y, j in ((a, from_b_A, b, from_b_B), (b, from_b_B, a, from_b_A))
            ]
            out[p] = evaluate(metric.compute, *sides[0]) - evaluate(metric.compute, *sides[1])
        return out


def _middle(rows: Rows) -> float:
    return float(rows.truth_N.mean()) if len(rows.truth_N) else 0.0


def _agree(summed: float, computed: float) -> bool:
    return bool(np.isclose(summed, computed, rtol=_AGREE, atol=_AGREE, equal_nan=True))
