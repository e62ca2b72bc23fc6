"""Everything that the numbers of an evaluation are made of: groups of decisions, metrics, shared resamples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from blear.contracts import Metric
from blear.errors import RunError
from blear.evaluate.predictions import class_names
from blear.evaluate.statistics.bootstrap import MIN_CLUSTERS
from blear.evaluate.statistics.bootstrap_estimates import Resampler, Rows
from blear.evaluate.statistics.clusters import Cluster, Group, Key, cluster_kind, groups
from blear.evaluate.statistics.spread import Spread


@dataclass(frozen=True)
class Tested:
    """A table of decisions of one target, taken apart.

    Attributes:
        table: one row for each decision.
        groups: in order of appearance.
        metrics: the headline first.
        reference: the arm that the others are compared with.
    """

    table: pa.Table
    groups: dict[Key, Group]
    metrics: Sequence[Metric]
    reference: str
    kind: Cluster
    resampler: Resampler
    _spreads: dict[tuple[Key, str, bool], Spread] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(table: pa.Table, metrics: Sequence[Metric], reference: str, resamples: int, seed: int) -> Tested:
        """Takes a table of decisions apart.

        Raises:
            RunError: the reference arm has no rows; a truth or a prediction that is not finite.
        """
        kind = cluster_kind(table)
        count = len(table[kind].unique())
        found = dict(groups(table, kind))
        arms = list(dict.fromkeys(arm for arm, _, _ in found))
        if reference not in arms:
            what = f"no predictions of the reference arm {reference!r}"
            raise RunError(what, "predictions.parquet", f"known: {arms}")
        resampler = Resampler(count, resamples if count >= MIN_CLUSTERS else 0, seed)
        return Tested(table, found, metrics, reference, kind, resampler)

    @property
    def arms(self) -> list[str]:
        """Labels, in order of appearance."""
        return list(dict.fromkeys(arm for arm, _, _ in self.groups))

    @property
    def conditions(self) -> dict[str, list[float]]:
        """Condition -> severities of any arm, ascending; conditions in order of appearance."""
        found: dict[str, set[float]] = {}
        for _, condition, severity in self.groups:
            found.setdefault(condition, set()).add(severity)
        return {condition: sorted(severities) for condition, severities in found.items()}

    @property
    def headline(self) -> Metric:
        """The first metric."""
        return self.metrics[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty for values."""
        return class_names(self.table)

    def rows(self, key: Key) -> Rows:
        """Decisions with a found face."""
        g = self.groups[key]
        return Rows(g.truth_N, g.prediction_N, g.clusters_N, g.classes)

    def spread(self, key: Key, metric: Metric | None = None, *, missed: bool = False) -> Spread:
        """A metric (the headline) of a group; `missed`: over all decisions, the missed ones answered wrongly."""
        metric = metric or self.headline
        place = (key, metric.name, missed)
        if place not in self._spreads:
            group = self.groups[key]
            rows = Rows(*group.with_missed(), group.classes) if missed else self.rows(key)
            metrics = self.metrics if metric in self.metrics else [metric]
            for one, spread in zip(metrics, self.resampler.spreads(rows, metrics), strict=True):
                self._spreads[key, one.name, missed] = spread
        return self._spreads[place]

    def compared(self) -> Iterator[tuple[Key, Key]]:
        """(other arm's key, reference's key) at each condition that both have, in order of appearance."""
        for arm, condition, severity in self.groups:
            base = (self.reference, condition, severity)
            if arm != self.reference and base in self.groups:
                yield (arm, condition, severity), base

    def enough(self, *keys: Key) -> bool:
        """Whether the groups have clusters enough for an interval."""
        return all(len(set(self.groups[key].clusters_N.tolist())) >= MIN_CLUSTERS for key in keys)

    def interval(self, spread: Spread, *keys: Key, confidence: float = 0.95) -> tuple[float | None, float | None]:
        """Interval of a statistic of these groups; (None, None) where there is none."""
        if not self.resampler.resamples or not self.enough(*keys):
            return None, None
        return spread.interval(confidence) or (None, None)
