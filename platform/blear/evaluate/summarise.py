"""From the predictions table to the summary: every number of the report, a pure function of the table and the job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.contracts import Metric
from blear.errors import RunError
from blear.evaluate.markdown import as_markdown, number
from blear.evaluate.pool import pooled
from blear.evaluate.predictions import class_priors
from blear.evaluate.statistics.bootstrap import evaluate
from blear.evaluate.statistics.calibration import calibrations, confusions
from blear.evaluate.statistics.clusters import Group, Key
from blear.evaluate.statistics.findings import Equivalence
from blear.evaluate.statistics.paired_tests import equivalence, paired_tests
from blear.evaluate.statistics.rate_curves import Groups, rates
from blear.evaluate.statistics.scalars import Errors, flips, scalars
from blear.evaluate.statistics.slices import slices
from blear.evaluate.statistics.spread import minus
from blear.evaluate.statistics.temperature import Temperatures
from blear.evaluate.statistics.tested import Tested
from blear.evaluate.summary import Difference, Estimate, MetricInfo, Summary
from blear.job.schema import Equivalent, Evaluate, Pool

__all__ = ["Asked", "as_markdown", "number", "summarise"]


@dataclass(frozen=True)
class Asked:
    """What else the job asks for.

    Attributes:
        equivalence: pairs of arms and margins.
        slices: columns.
        mce: what mCE is relative to: an arm, or error rates by condition and severity.
        groups: what each condition's sweep says in `group`.
        temperatures: (arm, stage) -> temperature, fitted on the validation split.
    """

    equivalence: Sequence[Equivalent] = ()
    slices: Sequence[str] = ()
    mce: str | Errors | None = None
    groups: Groups = field(default_factory=dict)
    temperatures: Temperatures = field(default_factory=dict)

    @staticmethod
    def of(evaluate: Evaluate, temperatures: Temperatures) -> Asked:
        """What a job's `evaluate` says."""
        groups = {condition: sweep.group for condition, sweep in evaluate.sweeps.items()}
        return Asked(evaluate.equivalence, evaluate.slices, evaluate.mce, groups, temperatures)


def summarise(
    predictions: pa.Table,
    metrics: Sequence[Metric],
    *,
    reference: str,
    seed: int,
    resamples: int = 1000,
    target: str | None = None,
    pool: Pool | None = None,
    asked: Asked | None = None,
) -> Summary:
    """Every metric of every arm at every condition, with 95 % BCa intervals of a cluster bootstrap, and what follows.

    Clusters are videos where every row names one, else subjects, else samples. All arms share the resamples, so the
    differences from the reference arm are paired. Decisions without a found face are counted as missed, and left out;
    `with_missed` counts them as wrong, or with the class prior where the table has one (`Group.with_missed`).

    Args:
        predictions: as `read_predictions` gives it.
        metrics: the headline first.
        reference: label of the arm that the others are compared with.
        target: the labelled quantity; left out, that of the first row.
        pool: what one decision is made of (`pool.pooled`); left out, each row is one.

    Raises:
        RunError: no rows, an unknown reference arm, a truth or a prediction that is not finite; rows cannot be pooled.
        ValueError: no metrics.
    """
    asked = asked or Asked()
    tested = decisions(predictions, metrics, reference, seed, resamples, target, pool)
    curves, bd = rates(tested, asked.groups)
    rated = {point.condition for curve in curves for point in curve.points}
    return Summary(
        target=tested.table["target"][0].as_py(),
        metrics=[MetricInfo(name=m.name, label=m.label, higher_is_better=m.higher_is_better) for m in metrics],
        arms=tested.arms,
        reference=reference,
        cluster=tested.kind,
        clusters=tested.resampler.clusters,
        pool=pool,
        resamples=resamples,
        seed=seed,
        estimates=[_estimate(tested, key, group, m) for key, group in tested.groups.items() for m in metrics],
        differences=list(_differences(tested)),
        without_face="prior" if class_priors(predictions) else "missed",
        interval="bca",
        classes=list(tested.classes),
        tests=paired_tests(tested),
        equivalence=list(_equivalence(tested, asked.equivalence)),
        scalars=[
            *scalars(tested, left_out=rated, pinned=asked.mce),
            *flips(tested, _of_target(predictions, target), asked.groups),
        ],
        calibration=list(calibrations(tested, asked.temperatures)),
        confusion=list(confusions(tested)),
        slices=list(slices(tested, asked.slices)),
        rates=curves,
        bd=bd,
    )


def decisions(
    predictions: pa.Table,
    metrics: Sequence[Metric],
    reference: str,
    seed: int,
    resamples: int,
    target: str | None = None,
    pool: Pool | None = None,
) -> Tested:
    """The decisions of one target, taken apart; arguments and errors as of `summarise`."""
    if not metrics:
        raise ValueError("no metric to summarise with")
    table = _of_target(predictions, target)
    if pool is not None:
        table = pooled(table, pool.by, pool.score)
    return Tested.of(table, metrics, reference, resamples, seed)


def _of_target(predictions: pa.Table, target: str | None) -> pa.Table:
    """The rows of one target, of the first row's where none is named."""
    if target is None and predictions.num_rows:
        target = predictions["target"][0].as_py()
    table = predictions.filter(pc.field("target") == target)
    if target is None or not table.num_rows:
        raise RunError(f"no predictions of {target or 'any target'}", "predictions.parquet", "evaluate a filled split")
    return table


def _estimate(tested: Tested, key: Key, group: Group, metric: Metric) -> Estimate:
    clusters = np.unique(group.clusters_N)
    low, high = tested.interval(tested.spread(key, metric), key)
    per_video = None
    if tested.kind == "video":
        of = [group.clusters_N == c for c in clusters]
        values = np.array([evaluate(metric.compute, group.truth_N[i], group.prediction_N[i]) for i in of])
        defined = values[np.isfinite(values)]
        per_video = float(defined.mean()) if len(defined) else None
    value = evaluate(metric.compute, group.truth_N, group.prediction_N)
    missed: tuple[float | None, ...] = (None, None, None)
    if len(group.missed_M) and group.classes != 1:
        all_ = tested.spread(key, metric, missed=True)
        missed = (_finite(all_.value), *tested.interval(all_, key))
    return Estimate(
        arm=key[0],
        stages=group.stages,
        condition=key[1],
        severity=key[2],
        metric=metric.name,
        value=_finite(value),
        low=low,
        high=high,
        per_video=per_video,
        n=len(group.truth_N),
        missed=len(group.missed_M),
        with_missed=missed[0],
        with_missed_low=missed[1],
        with_missed_high=missed[2],
        clusters=len(clusters),
        face_px=group.face_px,
        kbps=group.kbps,
    )


def _differences(tested: Tested) -> Iterator[Difference]:
    for key, base in tested.compared():
        difference = minus(tested.spread(key), tested.spread(base))
        low, high = tested.interval(difference, key, base)
        yield Difference(
            arm=key[0],
            condition=key[1],
            severity=key[2],
            value=_finite(difference.value),
            low=low,
            high=high,
            excludes_zero=None if low is None or high is None else not low <= 0 <= high,
        )


def _equivalence(tested: Tested, asked: Sequence[Equivalent]) -> Iterator[Equivalence]:
    for one in asked:
        yield from equivalence(tested, one.margin, one.of, one.against)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
