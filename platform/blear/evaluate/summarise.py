"""Computes the summary of an evaluation: a pure function of the predictions table and the job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.contracts import Metric
from blear.errors import RunError
from blear.evaluate.pool import pool_predictions
from blear.evaluate.predictions import class_priors, first_target
from blear.evaluate.statistics.bootstrap import compute_statistic
from blear.evaluate.statistics.bootstrap_estimate import paired_difference
from blear.evaluate.statistics.calibration import calibrations, confusion_matrices
from blear.evaluate.statistics.equivalence import equivalence_tests
from blear.evaluate.statistics.paired_tests import paired_tests
from blear.evaluate.statistics.prediction_groups import ClusterKind, GroupKey, PredictionGroup
from blear.evaluate.statistics.rate_accuracy import ConditionGroups, rate_accuracy
from blear.evaluate.statistics.robustness_scores import ReferenceErrors, flip_rate_scores, robustness_scores
from blear.evaluate.statistics.slices import slices
from blear.evaluate.statistics.temperature import Temperatures
from blear.evaluate.statistics.tested_predictions import TestedPredictions
from blear.evaluate.summary import Difference, Estimate, MetricInfo, Summary
from blear.job.schema import Equivalent, Evaluate, Pool


@dataclass(frozen=True)
class SummaryOptions:
    """Optional parts of a summary.

    Attributes:
        equivalence: pairs of arms to test for equivalence, with margins.
        slices: columns to slice by.
        mce: what mCE is relative to: an arm, or error rates by condition and severity. None: no mCE.
        groups: condition -> the entry `group` of its sweep.
        temperatures: (arm, stage, training seed) -> temperature, fitted on the validation split.
    """

    equivalence: Sequence[Equivalent] = ()
    slices: Sequence[str] = ()
    mce: str | ReferenceErrors | None = None
    groups: ConditionGroups = field(default_factory=dict)
    temperatures: Temperatures = field(default_factory=dict)

    @staticmethod
    def of(
        evaluate: Evaluate, temperatures: Temperatures, target: str | None = None, *, first: bool = True
    ) -> SummaryOptions:
        """Returns the options of a job's section `evaluate` for one target.

        Args:
            temperatures: of this target.
            first: whether it is the first target, which tests of equivalence without a `target` are about.
        """
        groups = {condition: sweep.group for condition, sweep in evaluate.sweeps.items()}
        equivalence = [pair for pair in evaluate.equivalence if pair.target == target or (first and not pair.target)]
        return SummaryOptions(equivalence, evaluate.slices, evaluate.mce, groups, temperatures)


def summarise(
    predictions: pa.Table,
    metrics: Sequence[Metric],
    *,
    reference: str,
    seed: int,
    resamples: int = 1000,
    target: str | None = None,
    pool: Pool | None = None,
    cluster: ClusterKind | None = None,
    options: SummaryOptions | None = None,
) -> Summary:
    """Computes every metric of every arm at every condition, and all statistics of summary.json.

    Intervals are 95 % BCa intervals of a cluster bootstrap. Clusters are subjects where every row has a subject, else
    videos, else samples. All arms share the resamples, so that differences from the reference arm are paired. Rows of
    several training seeds: every value is the mean over the seeds, and the resamples contain the chance of training
    (`Resampler.mean_over_seeds`).
    Decisions without a found face are excluded; `with_missed` includes them (`PredictionGroup.with_missed`).

    Args:
        predictions: a table from `read_predictions`.
        metrics: the headline metric first.
        reference: label of the arm that the other arms are compared with.
        seed: of the resamples.
        resamples: number of bootstrap resamples.
        target: the predicted quantity; None: the target of the first row.
        pool: how rows are pooled to decisions; None: each row is one decision.
        cluster: the unit that is resampled; None: the coarsest one that every row names.
        options: optional parts of the summary.

    Raises:
        RunError: there are no rows, the reference arm is unknown, a truth or a prediction is not finite, rows cannot be
            pooled, or a row has no name of the unit `cluster`.
        ValueError: there are no metrics.
    """
    options = options or SummaryOptions()
    tested = prepare_predictions(predictions, metrics, reference, seed, resamples, target, pool, cluster)
    tested.compute_estimates()
    curves, bd = rate_accuracy(tested, options.groups)
    with_bit_rate = {point.condition for curve in curves for point in curve.points}
    return Summary(
        target=tested.table["target"][0].as_py(),
        metrics=[MetricInfo(name=m.name, label=m.label, higher_is_better=m.higher_is_better) for m in metrics],
        arms=tested.arms,
        reference=reference,
        cluster=tested.kind,
        clusters=tested.resampler.clusters,
        seeds=list(tested.seeds),
        pool=pool,
        resamples=resamples,
        seed=seed,
        estimates=[_summary_estimate(tested, key, group, m) for key, group in tested.groups.items() for m in metrics],
        differences=list(_differences(tested)),
        without_face="prior" if class_priors(predictions) else "missed",
        interval="bca",
        classes=list(tested.classes),
        tests=paired_tests(tested),
        equivalence=[
            test
            for pair in options.equivalence
            for test in equivalence_tests(tested, pair.margin, pair.of, pair.against)
        ],
        scalars=[
            *robustness_scores(tested, excluded=with_bit_rate, mce_reference=options.mce),
            *flip_rate_scores(tested, _of_target(predictions, target), options.groups),
        ],
        calibration=list(calibrations(tested, options.temperatures)),
        confusion=list(confusion_matrices(tested)),
        slices=list(slices(tested, options.slices)),
        rates=curves,
        bd=bd,
    )


def summarise_targets(
    predictions: pa.Table,
    metrics: Mapping[str, Sequence[Metric]],
    *,
    reference: str,
    seed: int,
    resamples: int = 1000,
    pool: Pool | None = None,
    cluster: ClusterKind | None = None,
    options: Mapping[str, SummaryOptions] | None = None,
) -> Summary:
    """Computes the summary of every target; those of all but the first are `Summary.other_targets` of the first.

    Args:
        predictions: a table from `read_predictions`.
        metrics: target -> its metrics, the headline metric first. The first target is the target of the summary.
        reference: label of the reference arm. For a target that this arm does not predict, it is the first arm that
            does.
        options: target -> optional parts of its summary.

    Raises:
        As `summarise`.
    """
    found: list[Summary] = []
    for target, of_target in metrics.items():
        table = _rows_of(predictions, target)
        arms = pc.unique(table["arm"]).to_pylist()
        found.append(
            summarise(
                table,
                of_target,
                reference=reference if reference in arms or not found else arms[0],
                seed=seed,
                resamples=resamples,
                target=target,
                pool=pool,
                cluster=cluster,
                options=(options or {}).get(target),
            )
        )
    return found[0].model_copy(update={"other_targets": found[1:]})


def prepare_predictions(
    predictions: pa.Table,
    metrics: Sequence[Metric],
    reference: str,
    seed: int,
    resamples: int,
    target: str | None = None,
    pool: Pool | None = None,
    cluster: ClusterKind | None = None,
) -> TestedPredictions:
    """Pools and groups the predictions of one target; arguments and errors as in `summarise`."""
    if not metrics:
        raise ValueError("no metrics")
    table = _of_target(predictions, target)
    if pool is not None:
        table = pool_predictions(table, pool.by, pool.score)
        if pool.by == "video" and cluster == "sample":
            cluster = "video"  # each decision is a video
    return TestedPredictions.of(table, metrics, reference, resamples, seed, cluster)


def _of_target(predictions: pa.Table, target: str | None) -> pa.Table:
    """Returns the rows of one target; None: the target of the first row."""
    target = target or first_target(predictions)
    table = _rows_of(predictions, target)
    if target is None or not table.num_rows:
        raise RunError(f"no predictions of {target or 'any target'}", "predictions.parquet", "evaluate a filled split")
    return table


def _rows_of(predictions: pa.Table, target: str | None) -> pa.Table:
    """Returns the rows of a target; the table itself where it has no others."""
    if pc.unique(predictions["target"]).to_pylist() == [target]:
        return predictions
    return predictions.filter(pc.field("target") == target)


def _summary_estimate(tested: TestedPredictions, key: GroupKey, group: PredictionGroup, metric: Metric) -> Estimate:
    parts = group.of_each_seed
    low, high = tested.interval(tested.estimate(key, metric), key)
    values = [compute_statistic(metric.compute, *part.scored) for part in parts]
    value = float(np.mean(values))
    missed: tuple[float | None, ...] = (None, None, None)
    if group.has_substitutes:
        estimate = tested.estimate(key, metric, missed=True)
        missed = (_finite(estimate.value), *tested.interval(estimate, key))
    return Estimate(
        arm=key[0],
        stages=group.stages,
        condition=key[1],
        severity=key[2],
        metric=metric.name,
        value=_finite(value),
        low=low,
        high=high,
        per_video=_mean_over_videos(tested, parts, metric),
        seed_sd=_finite(float(np.std(values, ddof=1))) if len(values) > 1 else None,
        n=len(parts[0].truth_N),
        missed=len(parts[0].missed_M),
        with_missed=missed[0],
        with_missed_low=missed[1],
        with_missed_high=missed[2],
        clusters=tested.cluster_count(key),
        face_px=group.face_px,
        kbps=group.kbps,
    )


def _mean_over_videos(tested: TestedPredictions, groups: Sequence[PredictionGroup], metric: Metric) -> float | None:
    """Computes the mean of the metric of each video, and the mean over the groups of the training seeds.

    None where videos are unknown or no video has a defined metric.
    """
    if tested.videos_N is None:
        return None
    means = []
    for group in groups:
        videos_N = tested.videos_N[group.rows_N]
        order = np.argsort(videos_N, kind="stable")
        of_videos = np.split(order, np.flatnonzero(np.diff(videos_N[order])) + 1)
        truth, prediction = group.scored
        values = [compute_statistic(metric.compute, truth[i], prediction[i]) for i in of_videos]
        defined = [value for value in values if np.isfinite(value)]
        means += [float(np.mean(defined))] if defined else []
    return float(np.mean(means)) if len(means) == len(groups) else None


def _differences(tested: TestedPredictions) -> Iterator[Difference]:
    for key, base in tested.comparisons():
        difference = paired_difference(tested.estimate(key), tested.estimate(base))
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


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
