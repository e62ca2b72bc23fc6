"""The input of all statistics: predictions grouped by arm and condition, the metrics, and shared resamples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from blear.contracts import Metric
from blear.errors import RunError
from blear.evaluate.predictions import class_names, is_distribution
from blear.evaluate.statistics.bootstrap import MIN_CLUSTERS
from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate
from blear.evaluate.statistics.prediction_groups import (
    ClusterKind,
    GroupKey,
    PredictionGroup,
    choose_cluster_kind,
    group_predictions,
    has_names,
)
from blear.evaluate.statistics.resampler import ClusteredPredictions, Resampler
from blear.evaluate.statistics.thread_map import map_in_threads
from blear.metrics import CLASSIFICATION, DISTRIBUTION


@dataclass(frozen=True)
class TestedPredictions:
    """The predictions of one target, grouped by arm, condition and severity.

    Attributes:
        table: one row for each decision.
        groups: in order of appearance in the table.
        metrics: the headline metric first.
        reference: label of the arm that the other arms are compared with.
        kind: unit of the clusters: subjects, videos or samples.
        resampler: draws the clusters and the deviations of seeds; all groups share its draws.
        seeds: the training seeds of every arm; empty where each arm has one seed.
    """

    table: pa.Table
    groups: dict[GroupKey, PredictionGroup]
    metrics: Sequence[Metric]
    reference: str
    kind: ClusterKind
    resampler: Resampler
    seeds: tuple[int, ...] = ()
    _estimates: dict[tuple[GroupKey, str, bool], BootstrapEstimate] = field(default_factory=dict, repr=False)
    _cluster_counts: dict[GroupKey, int] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(
        table: pa.Table,
        metrics: Sequence[Metric],
        reference: str,
        resamples: int,
        seed: int,
        cluster: ClusterKind | None = None,
    ) -> TestedPredictions:
        """Groups the rows of a table.

        Args:
            table: predictions of one target, one row for each decision.
            cluster: what the clusters are; None: the coarsest known unit (`choose_cluster_kind`).

        Raises:
            RunError: the reference arm has no rows, a truth or a prediction is not finite, a row has no name of the
                unit `cluster`, or arms have different training seeds.
        """
        kind = choose_cluster_kind(table, cluster)
        count = len(table[kind].unique())
        groups = dict(group_predictions(table, kind))
        arms = list(dict.fromkeys(arm for arm, _, _ in groups))
        if reference not in arms:
            what = f"no predictions of the reference arm {reference!r}"
            raise RunError(what, "predictions.parquet", f"known: {arms}")
        resampler = Resampler(count, resamples if count >= MIN_CLUSTERS else 0, seed)
        return TestedPredictions(table, groups, metrics, reference, kind, resampler, _common_seeds(groups))

    @property
    def arms(self) -> list[str]:
        """Labels of the arms, in order of appearance."""
        return list(dict.fromkeys(arm for arm, _, _ in self.groups))

    @property
    def conditions(self) -> dict[str, list[float]]:
        """Condition -> severities of any arm, ascending. Conditions are in order of appearance."""
        found: dict[str, set[float]] = {}
        for _, condition, severity in self.groups:
            found.setdefault(condition, set()).add(severity)
        return {condition: sorted(severities) for condition, severities in found.items()}

    @cached_property
    def videos_N(self) -> np.ndarray | None:
        """Index of the video of each row of the table; None where a row has no video name."""
        if not has_names(self.table, "video"):
            return None
        return np.asarray(self.table["video"].combine_chunks().dictionary_encode().indices)

    @property
    def headline(self) -> Metric:
        """The first metric."""
        return self.metrics[0]

    @property
    def accuracy(self) -> Metric:
        """The accuracy of a target with classes; of a distribution, that of its largest share."""
        return next(
            m for m in (DISTRIBUTION if is_distribution(self.table) else CLASSIFICATION) if m.name == "accuracy"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty for a regression target."""
        return class_names(self.table)

    def found_predictions(self, key: GroupKey) -> ClusteredPredictions:
        """Returns the predictions of a group, without those where no face was found."""
        return _clustered(self.groups[key], missed=False)

    def estimate(self, key: GroupKey, metric: Metric | None = None, *, missed: bool = False) -> BootstrapEstimate:
        """Computes a metric of a group, once; later calls return the same estimate. Several seeds: their mean.

        Args:
            metric: None: the headline metric.
            missed: whether decisions without a found face are included, as in `PredictionGroup.with_missed`.
        """
        metric = metric or self.headline
        cache_key = (key, metric.name, missed)
        if cache_key not in self._estimates:
            metrics = self.metrics if metric in self.metrics else [metric]
            groups = self.groups[key].of_each_seed
            of_seeds = [self.resampler.estimates(_clustered(group, missed), metrics) for group in groups]
            for one, estimates in zip(metrics, zip(*of_seeds, strict=True), strict=True):
                self._estimates[key, one.name, missed] = self.resampler.mean_over_seeds(estimates)
        return self._estimates[cache_key]

    def compute_estimates(self) -> None:
        """Computes the estimates of all groups, in threads where it pays; `estimate` then returns them."""
        wanted = [(key, False) for key in self.groups]
        wanted += [(key, True) for key, group in self.groups.items() if group.has_substitutes]
        map_in_threads(lambda one: self.estimate(one[0], missed=one[1]), wanted, self.resampler.cells)

    def comparisons(self) -> Iterator[tuple[GroupKey, GroupKey]]:
        """Yields (key of another arm, key of the reference) at each condition of both, in order of appearance."""
        for arm, condition, severity in self.groups:
            base = (self.reference, condition, severity)
            if arm != self.reference and base in self.groups:
                yield (arm, condition, severity), base

    def has_enough_clusters(self, *keys: GroupKey) -> bool:
        """Returns whether each group has at least `MIN_CLUSTERS` clusters."""
        return all(self.cluster_count(key) >= MIN_CLUSTERS for key in keys)

    def cluster_count(self, key: GroupKey) -> int:
        """Returns the number of clusters of a group with a found face."""
        if key not in self._cluster_counts:
            clusters_N = self.groups[key].clusters_N
            self._cluster_counts[key] = int(np.count_nonzero(np.bincount(clusters_N, minlength=1)))
        return self._cluster_counts[key]

    def interval(
        self, estimate: BootstrapEstimate, *keys: GroupKey, confidence: float = 0.95
    ) -> tuple[float | None, float | None]:
        """Returns the interval of an estimate from these groups; (None, None) where there is none."""
        if not self.resampler.resamples or not self.has_enough_clusters(*keys):
            return None, None
        return estimate.interval(confidence) or (None, None)


def _clustered(group: PredictionGroup, missed: bool) -> ClusteredPredictions:
    """Returns the predictions of a group; `missed`: with substitutes for those where no face was found."""
    if missed:
        return ClusteredPredictions(*group.with_missed(), group.classes)
    return ClusteredPredictions(*group.scored, group.clusters_N, group.classes)


def _common_seeds(groups: Mapping[GroupKey, PredictionGroup]) -> tuple[int, ...]:
    """Returns the training seeds that all groups share; empty where each group has one seed.

    Raises:
        RunError: groups have different seeds.
    """
    found = {tuple(group.by_seed): key for key, group in groups.items()}
    if len(found) > 1:
        (first, key), (other, where), *_ = found.items()
        what = f"the arms have different training seeds: {key[0]} {list(first) or 'one'}, {where[0]} "
        what += f"{list(other) or 'one'}"
        raise RunError(what, "predictions.parquet", "train all arms with the same `seeds`")
    return next(iter(found))
