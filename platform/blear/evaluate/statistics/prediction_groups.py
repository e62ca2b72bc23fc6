"""Groups of predictions, one for each arm, condition and severity; all have the same sample and cluster indices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.errors import RunError
from blear.evaluate.predictions import ROWS, TRUTH_SHARES, class_names, class_priors, is_distribution

GroupKey = tuple[str, str, float]
"""(arm, condition, severity)."""

ClusterKind = Literal["subject", "video", "sample"]
"""The independent unit that is resampled, the coarsest first."""


@dataclass(frozen=True)
class PredictionGroup:
    """The decisions of one arm at one condition, sorted by sample.

    N decisions have a found face, M have none.

    Attributes:
        stages: stages whose models made the predictions.
        rows_N: row of each decision in the table.
        samples_N: index of each decision's sample.
        truth_N, prediction_N: class indices, or values of a regression target.
        shares: true and predicted shares of a distribution, float64 [N, K] each; None for other targets.
        missed_shares_MK: true shares of the decisions without a found face; None for other targets.
        clusters_N: index of each decision's cluster.
        missed_M, missed_clusters_M: truth and cluster of the decisions without a found face.
        classes: number of classes; 0 for a regression target.
        face_px, kbps: means, of the bit rate weighted by duration; None where all values are unknown.
        kbps_A: bit rate of all N + M decisions in the order of `with_missed`; NaN where it is unknown.
        durations_A: duration of the same decisions, as a number of rows; 1 where the table is not pooled.
        prior: the class that is predicted for a missing face; None: a missing face counts as a wrong prediction.
        by_seed: training seed -> the decisions of its models, seeds ascending; empty where there is one seed.
    """

    stages: list[str]
    rows_N: np.ndarray
    samples_N: np.ndarray
    truth_N: np.ndarray
    prediction_N: np.ndarray
    clusters_N: np.ndarray
    missed_M: np.ndarray
    missed_clusters_M: np.ndarray
    classes: int
    face_px: float | None
    kbps: float | None
    kbps_A: np.ndarray
    durations_A: np.ndarray
    prior: int | None = None
    by_seed: Mapping[int, PredictionGroup] = field(default_factory=dict)

    shares: tuple[np.ndarray, np.ndarray] | None = None
    missed_shares_MK: np.ndarray | None = None

    @property
    def scored(self) -> tuple[np.ndarray, np.ndarray]:
        """Truth and prediction that metrics are computed from: shares [N, K] of a distribution, else [N] each."""
        return (self.truth_N, self.prediction_N) if self.shares is None else self.shares

    @property
    def of_each_seed(self) -> Sequence[PredictionGroup]:
        """The groups of the training seeds; the group itself where there is one seed."""
        return list(self.by_seed.values()) or [self]

    @property
    def has_substitutes(self) -> bool:
        """Whether `with_missed` has decisions with substitutes; a target of one class has none."""
        return bool(len(self.missed_M)) and self.classes != 1

    def with_missed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns truth, prediction and cluster of all N + M decisions, with substitutes for the missing predictions.

        The substitute is the class prior where there is one. Without a prior it is a wrong class (the next one, after
        the last class the first one); for a regression target it is the mean of the group's predictions; for a
        distribution it is the uniform distribution.
        """
        if self.shares is not None and self.missed_shares_MK is not None:
            truth_NK, predicted_NK = self.shares
            return (
                np.concatenate([truth_NK, self.missed_shares_MK]),
                np.concatenate([predicted_NK, np.full_like(self.missed_shares_MK, 1 / self.classes)]),
                np.concatenate([self.clusters_N, self.missed_clusters_M]),
            )
        if self.prior is not None:
            substitute_M = np.full(len(self.missed_M), float(self.prior))
        elif self.classes:
            substitute_M = (self.missed_M + 1) % self.classes
        else:
            substitute_M = np.full(len(self.missed_M), self.prediction_N.mean() if len(self.prediction_N) else 0.0)
        return (
            np.concatenate([self.truth_N, self.missed_M]),
            np.concatenate([self.prediction_N, substitute_M]),
            np.concatenate([self.clusters_N, self.missed_clusters_M]),
        )


def choose_cluster_kind(table: pa.Table, wanted: ClusterKind | None = None) -> ClusterKind:
    """Chooses the unit of resampling: the coarsest one that is known of every row.

    Videos of one subject resemble each other, so that a bootstrap of videos gives intervals that are too narrow.

    Args:
        wanted: the unit that the job names; None: "subject" where every row has a subject, else "video" where every
            row has a video name, else "sample".

    Raises:
        RunError: a row has no name of the wanted unit.
    """
    if wanted is not None:
        if not has_names(table, wanted):
            what = f"not every sample has a {wanted}, the unit that the intervals shall resample"
            raise RunError(what, "evaluate.cluster", "leave it out, or name another unit: subject, video, sample")
        return wanted
    kinds: tuple[ClusterKind, ...] = ("subject", "video")
    return next((kind for kind in kinds if has_names(table, kind)), "sample")


def has_names(table: pa.Table, kind: ClusterKind) -> bool:
    """Returns whether every row has a name in the column of a unit."""
    return bool(pc.all(pc.fill_null(pc.not_equal(table[kind], ""), False)).as_py())


def group_predictions(table: pa.Table, kind: ClusterKind) -> Iterator[tuple[GroupKey, PredictionGroup]]:
    """Yields the groups of a table in order of appearance.

    Raises:
        RunError: a truth, a prediction or a probability is not finite.
    """
    numbered = {name: table[name].combine_chunks().dictionary_encode() for name in ("arm", "condition", "sample", kind)}
    codes = {name: np.asarray(array.indices) for name, array in numbered.items()}
    names = {name: numbered[name].dictionary.to_pylist() for name in ("arm", "condition")}
    columns = {
        name: table[name].to_numpy() for name in ("severity", "seed", "found", "truth", "prediction", "face_px", "kbps")
    }
    columns[ROWS] = table[ROWS].to_numpy() if ROWS in table.column_names else np.ones(len(table), np.int64)
    classes, priors = len(class_names(table)), class_priors(table)
    truth_shares_NK = _shares(table, TRUTH_SHARES, classes) if is_distribution(table) else None
    predicted_NK = None if truth_shares_NK is None else _shares(table, "probabilities", classes)
    finite_N = _has_finite_probabilities(table) if classes else None  # the most probable class of NaN is the first one

    def make(key: GroupKey, rows: np.ndarray) -> PredictionGroup:
        found = columns["found"][rows].astype(bool)
        seen, unseen = rows[found], rows[~found]
        _require_finite(key, "truth", columns["truth"][rows])
        _require_finite(key, "prediction", columns["prediction"][seen])
        if finite_N is not None:
            _require_finite(key, "probability", np.where(finite_N[seen], 0.0, np.nan))
        stages = pc.unique(table["stage"].take(pa.array(rows))).to_pylist()
        prior = priors.get(stages[0]) if len(stages) == 1 else None
        return PredictionGroup(
            stages=stages,
            rows_N=seen,
            samples_N=codes["sample"][seen],
            truth_N=columns["truth"][seen],
            prediction_N=columns["prediction"][seen],
            clusters_N=codes[kind][seen],
            missed_M=columns["truth"][unseen],
            missed_clusters_M=codes[kind][unseen],
            classes=classes,
            face_px=_mean(columns["face_px"][seen]),
            kbps=_mean(columns["kbps"][rows], columns[ROWS][rows]),
            kbps_A=columns["kbps"][np.concatenate([seen, unseen])].astype(np.float64),
            durations_A=columns[ROWS][np.concatenate([seen, unseen])].astype(np.float64),
            prior=None if prior is None else int(np.argmax(prior)),
            shares=None
            if truth_shares_NK is None or predicted_NK is None
            else (truth_shares_NK[seen], predicted_NK[seen]),
            missed_shares_MK=None if truth_shares_NK is None else truth_shares_NK[unseen],
        )

    severities, severity_codes = np.unique(columns["severity"], return_inverse=True)
    keys = np.stack([codes["arm"], codes["condition"], severity_codes])
    unique, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    members = np.split(np.argsort(inverse.ravel(), kind="stable"), np.cumsum(np.bincount(inverse.ravel()))[:-1])
    for g in np.argsort(first):
        arm, condition, severity = unique[:, g]
        key = (names["arm"][arm], names["condition"][condition], float(severities[severity]))
        rows = members[g][np.argsort(codes["sample"][members[g]], kind="stable")]
        whole = make(key, rows)
        seeds_N = columns["seed"][rows]
        seeds = np.unique(seeds_N).tolist()
        yield key, replace(whole, by_seed={seed: make(key, rows[seeds_N == seed]) for seed in seeds if len(seeds) > 1})


def _shares(table: pa.Table, column: str, classes: int) -> np.ndarray:
    """Returns a column of shares, float64 [N, K]; a null is a row of zeros."""
    values = table[column].combine_chunks()
    shares_NK = np.zeros((len(values), classes))
    shares_NK[values.is_valid().to_numpy(zero_copy_only=False)] = values.flatten().to_numpy().reshape(-1, classes)
    return shares_NK


def _has_finite_probabilities(table: pa.Table) -> np.ndarray:
    """Returns whether all probabilities of each row are finite, bool [N]; a null has none."""
    lists = table["probabilities"].combine_chunks()
    finite_N = np.ones(len(lists), bool)
    rows_V, values_V = pc.list_parent_indices(lists).to_numpy(), lists.flatten().to_numpy(zero_copy_only=False)
    finite_N[rows_V[~np.isfinite(values_V)]] = False
    return finite_N


def _require_finite(key: GroupKey, column: str, values: np.ndarray) -> None:
    bad = int((~np.isfinite(values.astype(np.float64))).sum())
    if bad:
        raise RunError(
            f"{bad} rows of arm {key[0]!r} ({key[1]} {key[2]:g}) have no finite {column}",
            "predictions.parquet",
            "prepare the data again"
            if column == "truth"
            else "this stage diverged: train it with a lower learning rate",
        )


def _mean(values: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """The mean of the finite values; None where there are none."""
    defined = np.isfinite(values.astype(np.float64))
    if not defined.any():
        return None
    return float(np.average(values[defined], weights=None if weights is None else weights[defined]))
