"""Calibration of predicted probabilities: ECE, Brier score, log-likelihood, risk-coverage curves, temperature scaling.

Guo et al. 2017 (ECE with bins of equal width, temperature), Nguyen and O'Connor 2015 (bins of equal mass), Brier 1950,
Geifman and El-Yaniv 2017 (risk-coverage), Geifman et al. 2019 (AURC).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from blear.evaluate.statistics.results import Calibration, CalibrationScores, Confusion, ReliabilityBin
from blear.evaluate.statistics.tested_predictions import TestedPredictions
from blear.metrics import confusion

BINS = 15
COVERAGES = 20
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
_LOG_TEMPERATURES = (-4.0, 4.0)


def calibrations(
    tested: TestedPredictions, temperatures: Mapping[tuple[str, str], float] | None = None
) -> Iterator[Calibration]:
    """Yields the calibration of every arm at every condition; nothing for a regression target.

    Args:
        temperatures: (arm, stage) -> temperature. A group whose predictions come from one of these stages alone has its
            scores after temperature scaling, too.
    """
    for (arm, condition, severity), group in tested.groups.items():
        if not group.classes or not len(group.truth_N):
            continue
        p_NK, truth_N = normalised_probabilities(tested.table, group.rows_N), group.truth_N.astype(np.int64)
        temperature = (temperatures or {}).get((arm, group.stages[0])) if len(group.stages) == 1 else None
        scaled_NK = None if temperature is None else scale_temperature(p_NK, temperature)
        risk_N = selective_risks(p_NK, truth_N)
        last = np.ceil(np.arange(1, COVERAGES + 1) / COVERAGES * len(truth_N)).astype(int) - 1
        yield Calibration(
            arm=arm,
            condition=condition,
            severity=severity,
            n=len(truth_N),
            scores=calibration_scores(p_NK, truth_N),
            aurc=float(risk_N.mean()),
            risk=risk_N[last].tolist(),
            bins=reliability_bins(p_NK, truth_N),
            temperature=temperature,
            scaled=None if scaled_NK is None else calibration_scores(scaled_NK, truth_N),
            scaled_bins=[] if scaled_NK is None else reliability_bins(scaled_NK, truth_N),
        )


def confusion_matrices(tested: TestedPredictions) -> Iterator[Confusion]:
    """Yields the confusion matrix of every arm at every condition; nothing for a regression target."""
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
