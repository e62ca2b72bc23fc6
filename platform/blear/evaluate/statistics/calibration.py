"""How far probabilities can be believed: ECE, Brier score, likelihood, risk-coverage, temperature scaling.

Guo et al. 2017 (ECE of equal width, temperature), Nguyen and O'Connor 2015 (equal mass), Brier 1950, Geifman and
El-Yaniv 2017 (risk-coverage; AURC: Geifman et al. 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from blear.evaluate.statistics.findings import Bin, Calibration, Confusion, Scores
from blear.evaluate.statistics.tested import Tested
from blear.metrics import confusion

BINS = 15
COVERAGES = 20
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
_LOG_TEMPERATURES = (-4.0, 4.0)


def calibrations(tested: Tested, temperatures: Mapping[tuple[str, str], float] | None = None) -> Iterator[Calibration]:
    """Calibration of every arm at every condition; nothing for values.

    Args:
        temperatures: (arm, stage) -> temperature; groups of one stage that is among them are scaled too.
    """
    for (arm, condition, severity), group in tested.groups.items():
        if not group.classes or not len(group.truth_N):
            continue
        p_NK, truth_N = probabilities(tested.table, group.rows_N), group.truth_N.astype(np.int64)
        temperature = (temperatures or {}).get((arm, group.stages[0])) if len(group.stages) == 1 else None
        scaled_NK = None if temperature is None else scaled(p_NK, temperature)
        risk_N = risks(p_NK, truth_N)
        places = np.ceil(np.arange(1, COVERAGES + 1) / COVERAGES * len(truth_N)).astype(int) - 1
        yield Calibration(
            arm=arm,
            condition=condition,
            severity=severity,
            n=len(truth_N),
            scores=scores(p_NK, truth_N),
            aurc=float(risk_N.mean()),
            risk=risk_N[places].tolist(),
            bins=reliability(p_NK, truth_N),
            temperature=temperature,
            scaled=None if scaled_NK is None else scores(scaled_NK, truth_N),
            scaled_bins=[] if scaled_NK is None else reliability(scaled_NK, truth_N),
        )


def confusions(tested: Tested) -> Iterator[Confusion]:
    """Confusion matrix of every arm at every condition; nothing for values."""
    for (arm, condition, severity), group in tested.groups.items():
        if group.classes:
            counts = confusion(group.truth_N, group.prediction_N, group.classes)
            yield Confusion(arm=arm, condition=condition, severity=severity, counts=counts.tolist())


def probabilities(table: pa.Table, rows_N: np.ndarray) -> np.ndarray:
    """Probabilities [N, K] of some decisions, each divided by its sum."""
    column = table["probabilities"].combine_chunks()
    flat = column.take(rows_N).flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    given_NK = flat.reshape(len(rows_N), -1)
    return given_NK / given_NK.sum(axis=1, keepdims=True)


def scores(p_NK: np.ndarray, truth_N: np.ndarray) -> Scores:
    """The scores of probabilities [N, K] and true classes [N]."""
    confidence_N, right_N = p_NK.max(axis=1), p_NK.argmax(axis=1) == truth_N
    chosen_N = p_NK[np.arange(len(truth_N)), truth_N]
    one_hot_NK = np.eye(p_NK.shape[1])[truth_N]
    return Scores(
        ece=_ece(confidence_N, right_N, _width_bin(confidence_N)),
        ece_mass=_ece(confidence_N, right_N, _mass_bin(confidence_N)),
        brier=float(((p_NK - one_hot_NK) ** 2).sum(axis=1).mean()),
        nll=float(-np.log(np.maximum(chosen_N, _SMALLEST)).mean()),
    )


def reliability(p_NK: np.ndarray, truth_N: np.ndarray) -> list[Bin]:
    """Bars of equal width of a reliability diagram."""
    confidence_N, right_N = p_NK.max(axis=1), p_NK.argmax(axis=1) == truth_N
    bin_N = _width_bin(confidence_N)
    out = []
    for b in range(BINS):
        here = bin_N == b
        n = int(here.sum())
        out.append(
            Bin(
                low=b / BINS,
                high=(b + 1) / BINS,
                n=n,
                confidence=float(confidence_N[here].mean()) if n else None,
                accuracy=float(right_N[here].mean()) if n else None,
            )
        )
    return out


def risks(p_NK: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Error rate of the most confident 1, 2, ..., N decisions; equally confident ones are wrong in equal parts."""
    confidence_N, wrong_N = p_NK.max(axis=1), (p_NK.argmax(axis=1) != truth_N).astype(np.float64)
    order = np.argsort(-confidence_N, kind="stable")
    _, tie_N = np.unique(-confidence_N[order], return_inverse=True)
    share_T = np.bincount(tie_N, wrong_N[order]) / np.bincount(tie_N)
    return np.cumsum(share_T[tie_N]) / np.arange(1, len(order) + 1)


def scaled(p_NK: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / temperature); logits are log-probabilities up to a constant of each row, which cancels."""
    logits_NK = np.log(np.maximum(p_NK, _SMALLEST)) / temperature
    return np.exp(logits_NK - logsumexp(logits_NK, axis=1, keepdims=True))


def fit_temperature(p_NK: np.ndarray, truth_N: np.ndarray) -> float:
    """The temperature with the smallest negative log-likelihood, between e^-4 and e^4; convex in its inverse."""
    logits_NK = np.log(np.maximum(p_NK, _SMALLEST))

    def nll(log_temperature: float) -> float:
        each_NK = logits_NK / np.exp(log_temperature)
        chosen_N = each_NK[np.arange(len(truth_N)), truth_N]
        return float((logsumexp(each_NK, axis=1) - chosen_N).mean())

    return float(np.exp(minimize_scalar(nll, bounds=_LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-6}).x))


def _width_bin(confidence_N: np.ndarray) -> np.ndarray:
    """Bin of each: (0, 1/15], (1/15, 2/15], ..."""
    return np.clip(np.ceil(confidence_N * BINS).astype(int) - 1, 0, BINS - 1)


def _mass_bin(confidence_N: np.ndarray) -> np.ndarray:
    """Bin of each: equally many in each, by rank."""
    rank_N = np.empty(len(confidence_N), dtype=np.int64)
    rank_N[np.argsort(confidence_N, kind="stable")] = np.arange(len(confidence_N))
    return rank_N * BINS // len(confidence_N)


def _ece(confidence_N: np.ndarray, right_N: np.ndarray, bin_N: np.ndarray) -> float:
    """Sum over bins of |right - confident|, over N."""
    gap_N = right_N - confidence_N
    return float(np.abs(np.bincount(bin_N, gap_N)).sum() / len(gap_N))
