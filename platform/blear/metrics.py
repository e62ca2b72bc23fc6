"""Public metrics of classification, regression and distributions over classes.

Classification metrics follow the definitions of scikit-learn. Each metric exists in two forms: from samples
(`accuracy`, `ccc`), and from sums over samples (`accuracy_of`, `ccc_of`), which bootstrap resampling uses.
Truth and prediction must have the same shape: no metric broadcasts one to the other.
"""

from __future__ import annotations

import numpy as np

from blear.contracts import Metric


def confusion(truth_N: np.ndarray, prediction_N: np.ndarray, classes: int | None = None) -> np.ndarray:
    """Returns the confusion matrix, int64 [K, K]: row = true class, column = predicted class.

    Args:
        truth_N, prediction_N: class indices from 0, integers or whole floats.
        classes: K. None: one more than the largest index that occurs.

    Raises:
        ValueError: the shapes differ, or an index is negative, not an integer, or not below `classes`.
    """
    pairs_2N = np.stack([_indices(values) for values in _pair(truth_N, prediction_N)])
    largest = int(pairs_2N.max(initial=-1))
    size = largest + 1 if classes is None else classes
    if largest >= size:
        raise ValueError(f"class index {largest} among {size} classes")
    return np.bincount(pairs_2N[0] * size + pairs_2N[1], minlength=size * size).reshape(size, size)


def accuracy(truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Fraction of correct predictions; NaN without samples. Errors as in `confusion`."""
    return float(accuracy_of(confusion(truth_N, prediction_N)))


def balanced_accuracy(truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Mean recall over the classes that occur in the ground truth; NaN without samples. Errors as in `confusion`."""
    return float(balanced_accuracy_of(confusion(truth_N, prediction_N)))


def macro_f1(truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Mean F1 over the classes that occur in truth or predictions; NaN without samples. Errors as in `confusion`."""
    return float(macro_f1_of(confusion(truth_N, prediction_N)))


def accuracy_of(counts_KK: np.ndarray) -> np.ndarray:
    """`accuracy` from confusion matrices [..., K, K], shape [...]."""
    return _ratio(_right(counts_KK).sum(axis=-1), counts_KK.sum(axis=(-2, -1)))


def balanced_accuracy_of(counts_KK: np.ndarray) -> np.ndarray:
    """`balanced_accuracy` from confusion matrices [..., K, K], shape [...]."""
    return _mean_of_present(_right(counts_KK), counts_KK.sum(axis=-1))


def macro_f1_of(counts_KK: np.ndarray) -> np.ndarray:
    """`macro_f1` from confusion matrices [..., K, K], shape [...]."""
    occurrences = counts_KK.sum(axis=-2) + counts_KK.sum(axis=-1)  # 2 TP + FP + FN
    return _mean_of_present(2 * _right(counts_KK), occurrences)


CLASSIFICATION = (
    Metric("accuracy", "Accuracy", accuracy, True, accuracy_of),
    Metric("balanced_accuracy", "Balanced accuracy", balanced_accuracy, True, balanced_accuracy_of),
    Metric("macro_f1", "Macro F1", macro_f1, True, macro_f1_of),
)
"""Metrics of a classification head, the headline metric first."""


def moments(truth_N: np.ndarray, prediction_N: np.ndarray) -> np.ndarray:
    """Returns the terms whose sums over samples determine the regression metrics: 1, t, p, t^2, p^2, t p.

    Subtract a constant near the means from both arrays first (the same one); otherwise the differences of the sums lose
    precision.

    Args:
        truth_N: ground truth t.
        prediction_N: predictions p.

    Returns:
        float64 [N, 6].

    Raises:
        ValueError: the shapes differ.
    """
    truth, prediction = _float_pair(truth_N, prediction_N)
    return np.stack([np.ones_like(truth), truth, prediction, truth**2, prediction**2, truth * prediction], axis=-1)


def ccc_of(moments_6: np.ndarray) -> np.ndarray:
    """Concordance correlation coefficient (Lin 1989), with population variances, from sums of `moments` [..., 6]."""
    covariance, truth, prediction, shift = _central(moments_6)
    return _ratio(2 * covariance, truth + prediction + shift**2)


def cc_of(moments_6: np.ndarray) -> np.ndarray:
    """Pearson's correlation from sums of `moments` [..., 6]."""
    covariance, truth, prediction, _ = _central(moments_6)
    return _ratio(covariance, np.sqrt(truth) * np.sqrt(prediction))


def rmse_of(moments_6: np.ndarray) -> np.ndarray:
    """Root mean squared error from sums of `moments` [..., 6]."""
    n, _, _, truth, prediction, product = np.moveaxis(np.asarray(moments_6, dtype=np.float64), -1, 0)
    return np.sqrt(_ratio(np.maximum(truth + prediction - 2 * product, 0), n))


def ccc(truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Concordance correlation coefficient (Lin 1989).

    0 for a constant prediction; NaN without samples, and if both arrays are the same constant.

    Raises:
        ValueError: the shapes differ.
    """
    covariance, truth, prediction, shift = _centred(truth_N, prediction_N)
    return float(_ratio(np.asarray(2 * covariance), np.asarray(truth + prediction + shift**2)))


def cc(truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Pearson's correlation; NaN without samples, and if an array is constant. Errors as in `ccc`."""
    covariance, truth, prediction, _ = _centred(truth_N, prediction_N)
    return float(_ratio(np.asarray(covariance), np.asarray(np.sqrt(truth) * np.sqrt(prediction))))


def rmse(truth_N: np.ndarray, prediction_N: np.ndarray) -> float:
    """Root mean squared error; NaN without samples. Errors as in `ccc`."""
    truth, prediction = _float_pair(truth_N, prediction_N)
    error_N = truth - prediction
    return float(np.sqrt((error_N**2).mean())) if error_N.size else float("nan")


REGRESSION = (
    Metric("ccc", "CCC", ccc, True, ccc_of),
    Metric("rmse", "RMSE", rmse, False, rmse_of),
    Metric("cc", "CC", cc, True, cc_of),
)
"""Metrics of a regression head, the headline metric first."""


def distribution_terms(truth_NK: np.ndarray, prediction_NK: np.ndarray) -> np.ndarray:
    """Returns the terms whose sums over samples determine the metrics of distributions.

    The terms of a sample are 1; the Kullback-Leibler divergence sum_k t_k log(t_k / p_k), in nats; whether the largest
    share belongs to the same class in both (ties: the first class); and the intersection sum_k min(t_k, p_k).

    Args:
        truth_NK: true shares t.
        prediction_NK: predicted shares p. A predicted 0 counts as the smallest float32 above 0.

    Returns:
        float64 [N, 4].

    Raises:
        ValueError: the shapes differ, or are not [N, K].
    """
    truth, prediction = (np.asarray(shares, dtype=np.float64) for shares in (truth_NK, prediction_NK))
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise ValueError(f"truth has the shape {truth.shape}, prediction has {prediction.shape}; give two [N, K]")
    ratio_NK = np.where(truth > 0, truth, 1) / np.maximum(np.where(truth > 0, prediction, 1), _SMALLEST)
    divergence_N = (truth * np.log(ratio_NK)).sum(axis=1)
    same_N = truth.argmax(axis=1) == prediction.argmax(axis=1) if truth.shape[1] else np.ones(len(truth))
    return np.stack([np.ones(len(truth)), divergence_N, same_N, np.minimum(truth, prediction).sum(axis=1)], axis=-1)


def kl_of(terms_4: np.ndarray) -> np.ndarray:
    """Mean Kullback-Leibler divergence from sums of `distribution_terms` [..., 4]."""
    return _ratio(terms_4[..., 1], terms_4[..., 0])


def majority_accuracy_of(terms_4: np.ndarray) -> np.ndarray:
    """`majority_accuracy` from sums of `distribution_terms` [..., 4]."""
    return _ratio(terms_4[..., 2], terms_4[..., 0])


def intersection_of(terms_4: np.ndarray) -> np.ndarray:
    """Mean intersection from sums of `distribution_terms` [..., 4]."""
    return _ratio(terms_4[..., 3], terms_4[..., 0])


def kl(truth_NK: np.ndarray, prediction_NK: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of predicted from true shares, in nats; errors as in `distribution_terms`."""
    return float(kl_of(distribution_terms(truth_NK, prediction_NK).sum(axis=0)))


def majority_accuracy(truth_NK: np.ndarray, prediction_NK: np.ndarray) -> float:
    """Fraction of samples whose largest predicted share belongs to the class with the largest true share."""
    return float(majority_accuracy_of(distribution_terms(truth_NK, prediction_NK).sum(axis=0)))


def intersection(truth_NK: np.ndarray, prediction_NK: np.ndarray) -> float:
    """Mean overlap of predicted and true shares: 1 minus their total variation distance (Geng 2016)."""
    return float(intersection_of(distribution_terms(truth_NK, prediction_NK).sum(axis=0)))


DISTRIBUTION = (
    Metric("kl", "KL divergence", kl, False, kl_of),
    Metric("accuracy", "Accuracy of the majority", majority_accuracy, True, majority_accuracy_of),
    Metric("intersection", "Intersection", intersection, True, intersection_of),
)
"""Metrics of a distribution over classes, the headline metric first."""


def _pair(truth_N: np.ndarray, prediction_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both arrays as vectors.

    Raises:
        ValueError: the shapes differ.
    """
    truth, prediction = np.asarray(truth_N), np.asarray(prediction_N)
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has the shape {truth.shape}, prediction has {prediction.shape}; give equal shapes")
    return truth.reshape(-1), prediction.reshape(-1)


def _float_pair(truth_N: np.ndarray, prediction_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, prediction = _pair(truth_N, prediction_N)
    return truth.astype(np.float64), prediction.astype(np.float64)


def _centred(truth_N: np.ndarray, prediction_N: np.ndarray) -> tuple[float, float, float, float]:
    """Covariance, both variances and difference of the means, in two passes to keep precision."""
    truth, prediction = _float_pair(truth_N, prediction_N)
    if not truth.size:
        return (float("nan"),) * 4
    shift = prediction[0] - truth[0]
    truth, prediction = truth - truth[0], prediction - prediction[0]  # a constant array becomes exactly 0
    shift += prediction.mean() - truth.mean()
    truth, prediction = truth - truth.mean(), prediction - prediction.mean()
    moment = (float((x * y).mean()) for x, y in ((truth, prediction), (truth, truth), (prediction, prediction)))
    return (*moment, float(shift))  # type: ignore[return-value]


def _central(moments_6: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Covariance, both variances and difference of the means, from sums of `moments` [..., 6]."""
    n, *sums = np.moveaxis(np.asarray(moments_6, dtype=np.float64), -1, 0)
    truth, prediction, truth2, prediction2, product = (_ratio(each, n) for each in sums)
    variances = [
        np.where(square - mean**2 > _NOISE * square, square - mean**2, 0.0)
        for square, mean in ((truth2, truth), (prediction2, prediction))
    ]
    return product - truth * prediction, variances[0], variances[1], prediction - truth


_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)

_NOISE = 1e-12
"""A variance below this fraction of the mean square is a rounding error: the array is constant."""


def _right(counts_KK: np.ndarray) -> np.ndarray:
    return np.diagonal(counts_KK, axis1=-2, axis2=-1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient; NaN where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _mean_of_present(numerator_K: np.ndarray, denominator_K: np.ndarray) -> np.ndarray:
    """Mean of the ratios over the classes whose denominator is not 0."""
    ratios_K = _ratio(numerator_K, denominator_K)
    present = np.isfinite(ratios_K)
    return _ratio(np.where(present, ratios_K, 0).sum(axis=-1), present.sum(axis=-1))


def _indices(values_N: np.ndarray) -> np.ndarray:
    values = np.asarray(values_N).reshape(-1)
    whole = values.astype(np.int64)
    if (whole != values).any() or (whole < 0).any():
        raise ValueError("class indices must be whole numbers from 0")
    return whole
