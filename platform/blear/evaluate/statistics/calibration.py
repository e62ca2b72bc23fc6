"""Calibration of predicted probabilities: ECE, Brier score, log-likelihood, risk-coverage curves, temperature scaling.

Guo et al. 2017 (ECE with bins of equal width, temperature), Nguyen and O'Connor 2015 (bins of equal mass), Brier 1950,
Geifman and El-Yaniv 2017 (risk-coverage), Geifman et al. 2019 (AURC).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from blear.evaluate.statistics.prediction_groups import GroupKey, PredictionGroup
from blear.evaluate.statistics.results import Calibration, CalibrationScores, Confusion, ReliabilityBin
from blear.evaluate.statistics.tested_predictions import TestedPredictions
from blear.metrics import confusion

BINS = 15
COVERAGES = 20
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
_LOG_TEMPERATURES = (-4.0, 4.0)


def calibrations(
    tested: TestedPredictions, temperatures: Mapping[tuple[str, str, int], float] | None = None
) -> Iterator[Calibration]:
    """Yields the calibration of every arm at every condition; nothing for a regression target.

    With several training seeds, each value is the mean over the trainings, whose errors of opposite sign would cancel
    in their decisions together.

    Args:
        temperatures: (arm, stage, seed) -> temperature. A group whose predictions come from one of these stages alone
            has its scores after temperature scaling, too.
    """
    seeds_N = tested.table["seed"].to_numpy()
    for key, group in tested.groups.items():
        parts = group.of_each_seed
        if group.classes and all(len(part.truth_N) for part in parts):
            stage = group.stages[0] if len(group.stages) == 1 else ""
            fitted = [(temperatures or {}).get((key[0], stage, int(seeds_N[part.rows_N[0]]))) for part in parts]
            pairs = zip(parts, fitted, strict=True)
            yield _mean([_calibration(tested.table, key, part, temperature) for part, temperature in pairs])


def _calibration(table: pa.Table, key: GroupKey, group: PredictionGroup, temperature: float | None) -> Calibration:
    """Computes the calibration of one training."""
    p_NK, truth_N = normalised_probabilities(table, group.rows_N), group.truth_N.astype(np.int64)
    scaled_NK = None if temperature is None else scale_temperature(p_NK, temperature)
    risk_N = selective_risks(p_NK, truth_N)
    last = np.ceil(np.arange(1, COVERAGES + 1) / COVERAGES * len(truth_N)).astype(int) - 1
    return Calibration(
        arm=key[0],
        condition=key[1],
        severity=key[2],
        n=len(truth_N),
        scores=calibration_scores(p_NK, truth_N),
        aurc=float(risk_N.mean()),
        risk=risk_N[last].tolist(),
        bins=reliability_bins(p_NK, truth_N),
        temperature=temperature,
        scaled=None if scaled_NK is None else calibration_scores(scaled_NK, truth_N),
        scaled_bins=[] if scaled_NK is None else reliability_bins(scaled_NK, truth_N),
    )


def _mean(of: Sequence[Calibration]) -> Calibration:
    """Computes the mean over trainings; `n` is that of the first one, as in the estimates."""
    if len(of) == 1:
        return of[0]
    temperatures = [one.temperature for one in of if one.temperature is not None]
    scaled = [one.scaled for one in of if one.scaled is not None]
    both = len(scaled) == len(of)
    return of[0].model_copy(
        update={
            "scores": _mean_scores([one.scores for one in of]),
            "aurc": float(np.mean([one.aurc for one in of])),
            "risk": np.mean([one.risk for one in of], axis=0).tolist(),
            "bins": [_mean_bin(bins) for bins in zip(*(one.bins for one in of), strict=True)],
            "temperature": float(np.mean(temperatures)) if both else None,
            "scaled": _mean_scores(scaled) if both else None,
            "scaled_bins": [_mean_bin(bins) for bins in zip(*(one.scaled_bins for one in of), strict=True)]
            if both
            else [],
        }
    )


def _mean_scores(of: Sequence[CalibrationScores]) -> CalibrationScores:
    names = CalibrationScores.model_fields
    return CalibrationScores(**{name: float(np.mean([getattr(one, name) for one in of])) for name in names})


def _mean_bin(of: Sequence[ReliabilityBin]) -> ReliabilityBin:
    """Computes the mean over the trainings that have decisions in the bin."""
    confidences = [one.confidence for one in of if one.confidence is not None]
    accuracies = [one.accuracy for one in of if one.accuracy is not None]
    if not confidences:
        return of[0]
    return of[0].model_copy(
        update={
            "n": max(1, round(float(np.mean([one.n for one in of])))),
            "confidence": float(np.mean(confidences)),
            "accuracy": float(np.mean(accuracies)),
        }
    )


def confusion_matrices(tested: TestedPredictions) -> Iterator[Confusion]:
    """Yields the confusion matrix of every arm at every condition; nothing for a regression target.

    Counts stay whole numbers: with several training seeds they are those of all trainings together.
    """
    for (arm, condition, severity), group in tested.groups.items():
        if group.classes:
            counts = confusion(group.truth_N, group.prediction_N, group.classes)
            yield Confusion(arm=arm, condition=condition, severity=severity, counts=counts.tolist())


def normalised_probabilities(table: pa.Table, rows_N: np.ndarray) -> np.ndarray:
    """Reads the probabilities of some rows, float64 [N, K], and divides each row by its sum."""
    column = table["probabilities"].combine_chunks()
    flat = column.take(rows_N).flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    given_NK = flat.reshape(len(rows_N), -1)
    return given_NK / given_NK.sum(axis=1, keepdims=True)


def calibration_scores(p_NK: np.ndarray, truth_N: np.ndarray) -> CalibrationScores:
    """Computes the calibration scores of probabilities [N, K] and true classes [N]."""
    confidence_N, correct_N = p_NK.max(axis=1), p_NK.argmax(axis=1) == truth_N
    p_truth_N = p_NK[np.arange(len(truth_N)), truth_N]
    one_hot_NK = np.eye(p_NK.shape[1])[truth_N]
    return CalibrationScores(
        ece=_expected_calibration_error(confidence_N, correct_N, _equal_width_bins(confidence_N)),
        ece_mass=_expected_calibration_error(confidence_N, correct_N, _equal_mass_bins(confidence_N)),
        brier=float(((p_NK - one_hot_NK) ** 2).sum(axis=1).mean()),
        nll=float(-np.log(np.maximum(p_truth_N, _SMALLEST)).mean()),
    )


def reliability_bins(p_NK: np.ndarray, truth_N: np.ndarray) -> list[ReliabilityBin]:
    """Computes the bins of equal width of a reliability diagram."""
    confidence_N, correct_N = p_NK.max(axis=1), p_NK.argmax(axis=1) == truth_N
    bin_N = _equal_width_bins(confidence_N)
    out = []
    for b in range(BINS):
        here = bin_N == b
        n = int(here.sum())
        out.append(
            ReliabilityBin(
                low=b / BINS,
                high=(b + 1) / BINS,
                n=n,
                confidence=float(confidence_N[here].mean()) if n else None,
                accuracy=float(correct_N[here].mean()) if n else None,
            )
        )
    return out


def selective_risks(p_NK: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Computes the error rate of the most confident 1, 2, ..., N decisions, [N].

    Decisions of equal confidence share their errors equally.
    """
    confidence_N, wrong_N = p_NK.max(axis=1), (p_NK.argmax(axis=1) != truth_N).astype(np.float64)
    order = np.argsort(-confidence_N, kind="stable")
    _, tie_N = np.unique(-confidence_N[order], return_inverse=True)
    share_T = np.bincount(tie_N, wrong_N[order]) / np.bincount(tie_N)
    return np.cumsum(share_T[tie_N]) / np.arange(1, len(order) + 1)


def scale_temperature(p_NK: np.ndarray, temperature: float) -> np.ndarray:
    """Computes softmax(logits / temperature).

    Log-probabilities replace the logits: both differ by a constant of each row, which cancels.
    """
    from scipy.special import logsumexp

    logits_NK = np.log(np.maximum(p_NK, _SMALLEST)) / temperature
    return np.exp(logits_NK - logsumexp(logits_NK, axis=1, keepdims=True))


def fit_temperature(p_NK: np.ndarray, truth_N: np.ndarray) -> float:
    """Fits the temperature with the smallest negative log-likelihood, between e^-4 and e^4.

    The likelihood is convex in the inverse of the temperature.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits_NK = np.log(np.maximum(p_NK, _SMALLEST))

    def nll(log_temperature: float) -> float:
        each_NK = logits_NK / np.exp(log_temperature)
        of_truth_N = each_NK[np.arange(len(truth_N)), truth_N]
        return float((logsumexp(each_NK, axis=1) - of_truth_N).mean())

    return float(np.exp(minimize_scalar(nll, bounds=_LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-6}).x))


def _equal_width_bins(confidence_N: np.ndarray) -> np.ndarray:
    """Returns the bin index of each confidence: (0, 1/15], (1/15, 2/15], ..."""
    return np.clip(np.ceil(confidence_N * BINS).astype(int) - 1, 0, BINS - 1)


def _equal_mass_bins(confidence_N: np.ndarray) -> np.ndarray:
    """Returns the bin index of each confidence: by rank, with equally many in each bin."""
    rank_N = np.empty(len(confidence_N), dtype=np.int64)
    rank_N[np.argsort(confidence_N, kind="stable")] = np.arange(len(confidence_N))
    return rank_N * BINS // len(confidence_N)


def _expected_calibration_error(confidence_N: np.ndarray, correct_N: np.ndarray, bin_N: np.ndarray) -> float:
    """Computes the sum over bins of |correct - confidence|, divided by N."""
    gap_N = correct_N - confidence_N
    return float(np.abs(np.bincount(bin_N, gap_N)).sum() / len(gap_N))
