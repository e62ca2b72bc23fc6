import math

import numpy as np
import pytest
import scipy.stats

from blear.metrics import (
    CLASSIFICATION,
    DISTRIBUTION,
    REGRESSION,
    accuracy,
    balanced_accuracy,
    cc,
    cc_of,
    ccc,
    ccc_of,
    confusion,
    distribution_terms,
    intersection,
    kl,
    macro_f1,
    majority_accuracy,
    moments,
    rmse,
    rmse_of,
)

TRUTH = np.array([0, 0, 0, 0, 1, 1, 2, 2])
PREDICTION = np.array([0, 0, 1, 3, 1, 0, 2, 2])


def test_confusion_counts_truth_in_rows():
    expected = [[2, 1, 0, 1], [1, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert confusion(TRUTH, PREDICTION).tolist() == expected
    assert confusion(TRUTH, PREDICTION, 6).shape == (6, 6)


def test_numbers_by_hand():
    assert accuracy(TRUTH, PREDICTION) == 5 / 8
    # recalls 2/4, 1/2, 2/2; class 3 never occurs in the truth
    assert balanced_accuracy(TRUTH, PREDICTION) == pytest.approx((0.5 + 0.5 + 1) / 3, abs=1e-15)
    # F1: 4/7, 2/4, 1, and 0 for class 3, which was predicted once
    assert macro_f1(TRUTH, PREDICTION) == pytest.approx((4 / 7 + 0.5 + 1 + 0) / 4, abs=1e-15)


def test_whole_floats_and_gaps_between_classes():
    truth, prediction = np.array([0.0, 5.0]), np.array([0.0, 5.0])
    assert [metric.compute(truth, prediction) for metric in CLASSIFICATION] == [1.0, 1.0, 1.0]


def test_no_samples_give_nan():
    empty = np.array([], dtype=np.int64)
    assert all(math.isnan(metric.compute(empty, empty)) for metric in CLASSIFICATION)


def test_headline_is_accuracy_and_all_grow_with_quality():
    assert [metric.name for metric in CLASSIFICATION] == ["accuracy", "balanced_accuracy", "macro_f1"]
    assert all(metric.higher_is_better for metric in CLASSIFICATION)


@pytest.mark.parametrize("bad", [np.array([-1]), np.array([0.5])])
def test_indices_must_be_whole(bad):
    with pytest.raises(ValueError, match="whole numbers from 0"):
        accuracy(bad, np.array([0]))


def test_lengths_and_classes_must_fit():
    with pytest.raises(ValueError, match=r"truth has the shape \(2,\), prediction has \(1,\)"):
        accuracy(np.array([0, 1]), np.array([0]))
    with pytest.raises(ValueError, match="class index 3 among 3 classes"):
        confusion(TRUTH, PREDICTION, 3)


FROM_SAMPLES = [metric.compute for metric in (*CLASSIFICATION, *REGRESSION)] + [confusion, moments]


@pytest.mark.parametrize("metric", FROM_SAMPLES, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (1,), (2, 2), ()])
def test_no_metric_broadcasts(metric, shape):
    """Truth of shape [4] and predictions of another shape, once in each order: the message has both shapes."""
    truth = np.arange(4)
    other = np.zeros(shape, dtype=np.int64) if np.prod(shape) == 1 else truth.reshape(shape)
    with pytest.raises(ValueError) as error:
        metric(truth, other)
    assert f"truth has the shape (4,), prediction has {shape}" in str(error.value)
    with pytest.raises(ValueError) as error:
        metric(other, truth)
    assert f"truth has the shape {shape}, prediction has (4,)" in str(error.value)


@pytest.mark.parametrize("metric", [*CLASSIFICATION, *REGRESSION], ids=lambda metric: metric.name)
def test_metrics_of_clips_and_frames_are_those_of_all_frames(metric):
    truth, prediction = np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3)[::-1]
    assert metric.compute(truth, prediction) == metric.compute(truth.ravel(), prediction.ravel())


def test_values_by_hand_and_what_is_undefined():
    truth, prediction = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 4.0, 4.0])
    # means 2.5 and 3, variances 1.25 and 1, covariance 1
    assert ccc(truth, prediction) == pytest.approx(2 * 1 / (1.25 + 1 + 0.25))
    assert cc(truth, prediction) == pytest.approx(1 / np.sqrt(1.25))
    assert rmse(truth, prediction) == pytest.approx(np.sqrt(0.5))
    sums = moments(truth - 2.5, prediction - 2.5).sum(axis=0)
    assert [float(of(sums)) for of in (ccc_of, cc_of, rmse_of)] == pytest.approx(
        [metric.compute(truth, prediction) for metric in (REGRESSION[0], REGRESSION[2], REGRESSION[1])]
    )
    constant = np.full(4, 0.1)
    assert ccc(truth, constant) == 0
    assert math.isnan(cc(truth, constant))
    assert math.isnan(ccc(constant, constant))
    assert all(math.isnan(metric.compute(np.array([]), np.array([]))) for metric in REGRESSION)
    assert cc(truth, 5 + 1e-9 * truth) == pytest.approx(1, abs=1e-6)


def test_metrics_of_distributions_agree_with_scipy_and_with_their_sums():
    truth, predicted = (np.random.default_rng(seed).dirichlet(np.ones(4), 50) for seed in (1, 2))
    truth[0] = (0, 1, 0, 0)  # 0 log 0 is 0
    expected = np.mean([scipy.stats.entropy(t, p) for t, p in zip(truth, predicted, strict=True)])
    assert kl(truth, predicted) == pytest.approx(expected, abs=1e-12)
    assert majority_accuracy(truth, predicted) == np.mean(truth.argmax(1) == predicted.argmax(1))
    assert intersection(truth, predicted) == pytest.approx(1 - np.abs(truth - predicted).sum(1).mean() / 2, abs=1e-12)
    sums = distribution_terms(truth, predicted).reshape(5, 10, 4).sum(axis=1)
    for metric in DISTRIBUTION:
        alone = [metric.compute(truth[n : n + 10], predicted[n : n + 10]) for n in range(0, 50, 10)]
        np.testing.assert_allclose(metric.from_sums(sums), alone, atol=1e-12)
        assert metric.compute(truth, truth) == (0 if metric.name == "kl" else pytest.approx(1))
        assert math.isnan(metric.compute(truth[:0], predicted[:0]))
    assert kl(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])) == pytest.approx(-np.log(2.0**-149))
    with pytest.raises(ValueError, match=r"give two \[N, K\]"):
        kl(truth, predicted[:, :3])
