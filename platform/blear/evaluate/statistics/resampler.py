"""Resampling of clusters: bootstrap, jackknife and permutation distributions of metrics.

All arms and conditions share the same draws, so their distributions are paired. For a metric with `from_sums`, all
resamples are computed by one matrix product: [resamples, clusters], how often each cluster is drawn, times
[clusters, sums], the contribution of each cluster. Other metrics are computed resample by resample.

Resamples and permutations are made in blocks, so that memory does not grow with resamples x clusters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from blear.contracts import Metric
from blear.evaluate.statistics.bootstrap import bootstrap_distributions, compute_statistic, draw_cluster_blocks
from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate, mean
from blear.evaluate.statistics.single_decisions import (
    SwapCounts,
    cells_of_clusters,
    cells_without_each,
    count_drawn_cells,
    pack_bits,
    pad_words,
)
from blear.metrics import accuracy_of, distribution_terms, moments

_MAX_JACKKNIFE_GROUPS = 200
_MAX_EXACT_CLUSTERS = 12
_MAX_PERMUTATIONS_PER_BLOCK = 512
_CELLS_PER_BLOCK = 1 << 22
"""Resamples x clusters that are in memory at once."""
_KEPT_BYTES = 1 << 27
"""Counts and permutations up to this size are kept between calls; larger ones are drawn again."""
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class ClusteredPredictions:
    """Predictions of one arm at one condition, with the cluster of each.

    Attributes:
        truth_N, prediction_N: class indices, values of a regression target, or shares [N, K] of a distribution.
        clusters_N: cluster index of each prediction.
        classes: number of classes; 0 for a regression target.
    """

    truth_N: np.ndarray
    prediction_N: np.ndarray
    clusters_N: np.ndarray
    classes: int


@dataclass(frozen=True)
class _Sums:
    """Sums that `Metric.from_sums` expects.

    Attributes:
        total_1: of all predictions.
        drawn_R: of each bootstrap resample.
        without_J: without one cluster.
        of_cluster: the row of `without_J` of each cluster.
    """

    total_1: np.ndarray
    drawn_R: np.ndarray
    without_J: np.ndarray
    of_cluster: np.ndarray | slice


@dataclass(frozen=True)
class Resampler:
    """Draws resamples and permutations of K clusters.

    Args:
        clusters: K.
        resamples: number of bootstrap resamples; 0: no intervals. Also the number of permutations for a metric
            without `from_sums`.
        seed: of the draws.
        permutations: number of random permutations where K is above 12. Up to 12 clusters, all 2^K are computed.
    """

    clusters: int
    resamples: int
    seed: int
    permutations: int = 9999

    @property
    def cells(self) -> int:
        """Resamples x clusters, the size of the work of one estimate."""
        return self.resamples * self.clusters

    @property
    def _rows_per_block(self) -> int:
        return max(1, _CELLS_PER_BLOCK // max(1, self.clusters))

    def _draws(self) -> Iterator[np.ndarray]:
        """Yields the cluster indices of the resamples, [r, K] for each block of resamples."""
        return draw_cluster_blocks(self.clusters, self.resamples, self.seed, self._rows_per_block)

    def _drawn_sums(self, sums_KS: np.ndarray) -> np.ndarray:
        """Sums the contributions of the drawn clusters, [R, S]."""
        blocks = self._kept_counts if self._keeps_counts else self._counts()
        parts = [counts_rK.astype(sums_KS.dtype) @ sums_KS for counts_rK in blocks]
        return np.concatenate([np.empty((0, sums_KS.shape[1]), sums_KS.dtype), *parts])

    @property
    def _keeps_counts(self) -> bool:
        return self.cells <= _KEPT_BYTES

    @cached_property
    def _kept_counts(self) -> list[np.ndarray]:
        return list(self._counts())

    @cached_property
    def _kept_columns(self) -> list[np.ndarray]:
        return [_columns(counts_rK) for counts_rK in self._counts()]

    def _counts(self) -> Iterator[np.ndarray]:
        """Yields how often each resample contains each cluster, uint8 [r, K] for each block of resamples."""
        for draws_rK in self._draws():
            cells = draws_rK + np.arange(len(draws_rK))[:, None] * self.clusters
            counts = np.bincount(cells.ravel(), minlength=draws_rK.size).reshape(draws_rK.shape)
            yield counts.astype(np.uint8)  # a count above 255 has a probability below 10^-500

    def estimate(self, predictions: ClusteredPredictions, metric: Metric) -> BootstrapEstimate:
        """Computes one metric with its bootstrap and jackknife distributions."""
        return self.estimates(predictions, [metric])[0]

    def estimates(self, predictions: ClusteredPredictions, metrics: Sequence[Metric]) -> list[BootstrapEstimate]:
        """Computes metrics with their bootstrap and jackknife distributions.

        `Metric.compute` is the definition. Where `from_sums` differs from it on all predictions, for example on a
        nearly constant series whose sums cancel, `compute` is called for each resample.
        """
        out: list[BootstrapEstimate] = []
        sums: _Sums | None = None
        for metric in metrics:
            value = compute_statistic(metric.compute, predictions.truth_N, predictions.prediction_N)
            if metric.from_sums is not None:
                sums = sums or self._resampled_sums(predictions)
                parts = (sums.total_1, sums.drawn_R, sums.without_J)
                of_all, bootstrap_R, jackknife_J = (metric.from_sums(part) for part in parts)
                if _agree(of_all[0], value):
                    out.append(BootstrapEstimate(float(of_all[0]), bootstrap_R, jackknife_J[sums.of_cluster]))
                    continue
            pair = [(predictions.truth_N, predictions.prediction_N)]
            of_blocks = [
                bootstrap_distributions(draws, predictions.clusters_N, pair, [metric.compute])[:, 0, 0]
                for draws in self._draws()
            ]
            out_R = np.concatenate([np.empty(0), *of_blocks])
            out.append(BootstrapEstimate(value, out_R, self._jackknife(predictions, metric)))
        return out

    def _resampled_sums(self, predictions: ClusteredPredictions) -> _Sums:
        """Returns the sums of all predictions, of the drawn clusters, and without each cluster."""
        classes, given = predictions.classes, (predictions.truth_N, predictions.prediction_N, predictions.clusters_N)
        cell_K = cells_of_clusters(*given, self.clusters, classes)
        shape: tuple[int, ...] = (classes, classes)
        of_cluster: np.ndarray | slice = slice(None)
        if cell_K is None:
            sums_KS, shape = self._sums(predictions, _offset(predictions))
            total_S, drawn_RS = sums_KS.sum(axis=0, dtype=np.float64), self._drawn_sums(sums_KS)
            without_JS = total_S - sums_KS
        else:
            total_S = np.bincount(cell_K[cell_K >= 0], minlength=classes**2).astype(np.float64)
            blocks = self._kept_columns if self._keeps_counts else map(_columns, self._counts())
            drawn_RS = count_drawn_cells(blocks, cell_K, classes**2)
            without_JS, of_cluster = cells_without_each(total_S, cell_K)
        total_1, drawn_R, without_J = (
            sums.reshape(-1, *shape) for sums in (total_S, drawn_RS.astype(np.float64), without_JS)
        )
        return _Sums(total_1, drawn_R, without_J, of_cluster)

    def mean(
        self, values_N: np.ndarray, clusters_N: np.ndarray, weights_N: np.ndarray | None = None
    ) -> BootstrapEstimate:
        """Computes the mean of values, weighted or not, with its bootstrap and jackknife distributions."""
        weights_N = np.ones(len(values_N)) if weights_N is None else weights_N
        columns = (values_N * weights_N, weights_N)
        sums_K2 = np.stack([np.bincount(clusters_N, column, self.clusters) for column in columns], 1)
        total_2 = sums_K2.sum(axis=0)
        with np.errstate(all="ignore"):
            means = [each[..., 0] / each[..., 1] for each in (total_2, self._drawn_sums(sums_K2), total_2 - sums_K2)]
        return BootstrapEstimate(float(means[0]), means[1], means[2])

    def mean_over_seeds(self, estimates: Sequence[BootstrapEstimate]) -> BootstrapEstimate:
        """Computes the mean of a statistic over S training seeds, with the chance of training in its distribution.

        Resample r is the mean over the seeds of their resamples r of clusters, plus a deviation of the seeds:
        sum_s w_rs (value_s - mean), with the same weights for every arm and condition, so that differences are paired.
        The weights are a multiplier bootstrap: the deviation is distributed as Student's t with S - 1 degrees of
        freedom times the standard error of the mean over the seeds. Seeds drawn with replacement, as clusters are,
        give intervals that cover about 75 instead of 95 per cent with three seeds.

        Args:
            estimates: of each seed, from the same draws of clusters. One seed: returned unchanged.
        """
        if len(estimates) == 1:
            return estimates[0]
        average = mean(*estimates)
        away_S = np.array([estimate.value for estimate in estimates]) - average.value
        drawn_R = average.distribution_R
        if len(drawn_R):
            drawn_R = drawn_R + self._seed_weights(len(estimates)) @ away_S
        return BootstrapEstimate(average.value, drawn_R, average.jackknife_J)

    def _seed_weights(self, seeds: int) -> np.ndarray:
        """Draws the weights [R, S] of the deviations of S seeds; all calls draw the same."""
        generator, free = np.random.default_rng([self.seed, 2]), seeds - 1
        normal_RS = generator.standard_normal((self.resamples, seeds))
        scale_R1 = np.sqrt(generator.chisquare(free, (self.resamples, 1)) / free)
        return normal_RS / scale_R1 / np.sqrt(seeds * free)

    def permutation_distribution(self, a: ClusteredPredictions, b: ClusteredPredictions, metric: Metric) -> np.ndarray:
        """Computes metric(a) - metric(b) under permutations that swap the predictions of a and b in whole clusters.

        Every call swaps the same clusters.

        Returns:
            Differences [P]: of all 2^K permutations for K <= 12, else of random ones.
        """
        if metric.from_sums is None:
            return self._permutation_distribution_by_loop(a, b, metric)
        if metric.from_sums is accuracy_of:
            a, b = _right_or_wrong(a), _right_or_wrong(b)
        offset = _offset(a)
        (sums_a_KS, shape), (sums_b_KS, _) = self._sums(a, offset), self._sums(b, offset)
        gain_KS = sums_b_KS - sums_a_KS
        differing = np.flatnonzero(gain_KS.any(axis=1))
        total_a_S, total_b_S = (sums.sum(axis=0, dtype=np.float64) for sums in (sums_a_KS, sums_b_KS))
        count_swaps, gain_KS = SwapCounts(gain_KS), gain_KS[differing]
        for total_S, predictions in ((total_a_S, a), (total_b_S, b)):
            value = compute_statistic(metric.compute, predictions.truth_N, predictions.prediction_N)
            if not _agree(metric.from_sums(total_S.reshape(1, *shape))[0], value):
                return self._permutation_distribution_by_loop(a, b, metric)
        out = []
        for packed in self._swap_masks():
            if count_swaps.possible:
                moved_PS = count_swaps(packed)
            else:
                mask_PK = np.unpackbits(packed, axis=1)[:, differing]
                moved_PS = mask_PK.astype(gain_KS.dtype) @ gain_KS
            of_a = metric.from_sums((total_a_S + moved_PS).reshape(-1, *shape))
            out.append(of_a - metric.from_sums((total_b_S - moved_PS).reshape(-1, *shape)))
        return np.concatenate(out)

    @property
    def all_permutations(self) -> bool:
        """Whether permutation distributions contain all 2^K permutations."""
        return self.clusters <= _MAX_EXACT_CLUSTERS

    def _swap_masks(self) -> Iterator[np.ndarray]:
        """Yields packed bits for each block of permutations: whether a permutation swaps a cluster.

        Each block is uint8 [p, B], with B a multiple of 8 bytes; the bits after the first K have no meaning.
        """
        small = self.all_permutations or self.permutations * self.clusters <= 8 * _KEPT_BYTES
        yield from self._kept_swap_masks if small else self._drawn_swap_masks()

    @cached_property
    def _kept_swap_masks(self) -> list[np.ndarray]:
        return list(self._drawn_swap_masks())

    def _drawn_swap_masks(self) -> Iterator[np.ndarray]:
        if self.all_permutations:
            ways = np.arange(2**self.clusters)
            yield pack_bits((ways[:, None] >> np.arange(self.clusters)) & 1)
            return
        generator, width = np.random.default_rng([self.seed, 1]), -(-self.clusters // 8)
        # rows in fours: the generator draws 4 bytes at once, so that the blocks contain the bytes of one whole draw
        rows = 4 * max(1, min(_MAX_PERMUTATIONS_PER_BLOCK, self._rows_per_block) // 4)
        for start in range(0, self.permutations, rows):
            yield pad_words(generator.integers(256, size=(min(rows, self.permutations - start), width), dtype=np.uint8))

    def _sums(self, predictions: ClusteredPredictions, offset: float) -> tuple[np.ndarray, tuple[int, ...]]:
        """Returns each cluster's contribution to the sums of a metric, [K, S], and the shape that `from_sums` expects.

        Classes: confusion counts. Regression: sums of products of truth and prediction, after `offset` is subtracted
        from both for numerical precision. Distributions: sums of `metrics.distribution_terms`.
        """
        if predictions.truth_N.ndim == 2:
            terms_N4 = distribution_terms(predictions.truth_N, predictions.prediction_N)
            columns = [np.bincount(predictions.clusters_N, column, self.clusters) for column in terms_N4.T]
            return np.stack(columns, axis=1), (terms_N4.shape[1],)
        if predictions.classes:
            classes = predictions.classes
            truth, prediction = predictions.truth_N.astype(np.int64), predictions.prediction_N.astype(np.int64)
            cells = (predictions.clusters_N * classes + truth) * classes + prediction
            counts = np.bincount(cells, minlength=self.clusters * classes**2).astype(np.float32)  # exact below 2^24
            return counts.reshape(self.clusters, classes**2), (classes, classes)
        each_N6 = moments(predictions.truth_N - offset, predictions.prediction_N - offset)
        columns = [np.bincount(predictions.clusters_N, column, self.clusters) for column in each_N6.T]
        return np.stack(columns, axis=1), (6,)

    def _jackknife(self, predictions: ClusteredPredictions, metric: Metric) -> np.ndarray:
        """Computes the metric without each cluster.

        Above 200 clusters: without each of 200 groups of clusters (Shao and Wu 1989).
        """
        if not self.resamples:
            return np.empty(0)
        part_K = np.arange(self.clusters) * min(self.clusters, _MAX_JACKKNIFE_GROUPS) // self.clusters
        part_N = part_K[predictions.clusters_N]
        keep = (part_N != part for part in range(int(part_K[-1]) + 1))
        return np.array(
            [compute_statistic(metric.compute, predictions.truth_N[k], predictions.prediction_N[k]) for k in keep]
        )

    def _permutation_distribution_by_loop(
        self, a: ClusteredPredictions, b: ClusteredPredictions, metric: Metric
    ) -> np.ndarray:
        """Computes the permutation distribution of a metric without `from_sums`."""
        masks = itertools.chain.from_iterable(self._swap_masks())
        out = []
        for packed in masks if self.all_permutations else itertools.islice(masks, self.resamples):
            mask_K = np.unpackbits(packed).astype(bool)
            swapped_A, swapped_B = mask_K[a.clusters_N], mask_K[b.clusters_N]
            sides = [
                (np.concatenate([x.truth_N[~i], y.truth_N[j]]), np.concatenate([x.prediction_N[~i], y.prediction_N[j]]))
                for x, i, y, j in ((a, swapped_A, b, swapped_B), (b, swapped_B, a, swapped_A))
            ]
            out.append(compute_statistic(metric.compute, *sides[0]) - compute_statistic(metric.compute, *sides[1]))
        return np.array(out)


def _columns(counts_rK: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(counts_rK.T)


def _right_or_wrong(predictions: ClusteredPredictions) -> ClusteredPredictions:
    """Predictions of two classes, right and wrong, of the same accuracy."""
    wrong_N = (predictions.truth_N != predictions.prediction_N).astype(np.float64)
    return ClusteredPredictions(np.zeros_like(wrong_N), wrong_N, predictions.clusters_N, 2)


def _offset(predictions: ClusteredPredictions) -> float:
    return float(predictions.truth_N.mean()) if len(predictions.truth_N) else 0.0


def _agree(from_sums: float, computed: float) -> bool:
    return bool(np.isclose(from_sums, computed, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True))
