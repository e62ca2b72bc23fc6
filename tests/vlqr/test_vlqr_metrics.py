"""RMSE, CC, CCC: hand-computed values, scipy, degenerate series, both aggregations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from blear_vlqr.metrics import REGRESSION, aggregate, cc, ccc, per_video, rmse

TRUTH, PREDICTION = np.array([0.0, 1, 2, 3]), np.array([1.0, 1, 3, 3])
# by hand: means 1.5 and 2, covariance 4/4, variances 5/4 and 4/4 (unbiased 5/3 and 4/3)


def test_metrics_equal_hand_computation():
    assert rmse(TRUTH, PREDICTION) == pytest.approx(math.sqrt(0.5))
    assert cc(TRUTH, PREDICTION) == pytest.approx(1 / math.sqrt(1.25))
    assert cc(TRUTH, PREDICTION, ddof="repo") == pytest.approx(0.75 / math.sqrt(1.25))
    assert ccc(TRUTH, PREDICTION) == pytest.approx(2 / (1.25 + 1 + 0.25))
    assert ccc(TRUTH, PREDICTION, ddof="repo") == pytest.approx(2 / (5 / 3 + 4 / 3 + 0.25))


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=3, max_size=40))
def test_against_scipy_and_the_definition(pairs):
    truth, prediction = np.array(pairs).T
    if min(truth.std(), prediction.std()) < 1e-3:
        return
    r, n = pearsonr(truth, prediction).statistic, len(truth)
    assert cc(truth, prediction) == pytest.approx(r, abs=1e-9)
    assert cc(truth, prediction, "repo") == pytest.approx(r * (n - 1) / n, abs=1e-9)
    spread = truth.var() + prediction.var() + (truth.mean() - prediction.mean()) ** 2
    assert ccc(truth, prediction) == pytest.approx(2 * r * truth.std() * prediction.std() / spread, abs=1e-9)
    assert ccc(prediction, truth) == pytest.approx(ccc(truth, prediction), abs=1e-12)
    assert ccc(truth, truth) == pytest.approx(1)


def test_degenerate_series():
    constant = np.full(4, 0.1)  # 0.1 has no exact float: its variance must still be zero
    assert ccc(TRUTH, constant) == 0
    assert math.isnan(cc(TRUTH, constant))
    assert ccc(constant, constant + 1) == 0
    for metric in (cc, ccc):
        assert math.isnan(metric(constant, constant))
        assert math.isnan(metric(np.array([]), np.array([])))
        assert math.isnan(metric(TRUTH[:1], PREDICTION[:1], "repo"))
    assert math.isnan(rmse(np.array([]), np.array([])))
    assert ccc(np.array([0.1] * 7), np.array([0.3] * 7)) == 0


def test_a_large_offset_keeps_its_digits():
    assert ccc(TRUTH + 1e8, PREDICTION + 1e8) == pytest.approx(0.8)


def test_aggregations():
    truth, prediction = np.concatenate([TRUTH, TRUTH]), np.concatenate([PREDICTION, TRUTH + 1])
    videos = ["dev_2"] * 4 + ["dev_1"] * 4
    both = aggregate(ccc, truth, prediction, videos)
    assert list(both.per_video) == ["dev_2", "dev_1"]
    # dev_1: covariance 1.25, shift 1: 2.5 / (1.25 + 1.25 + 1)
    assert both.per_video == pytest.approx({"dev_2": 0.8, "dev_1": 2.5 / 3.5})
    # concatenated: covariance 1.125, variances 1.25 and 1.1875, shift 0.75
    assert both.total == pytest.approx(2 * 1.125 / (1.25 + prediction.var() + 0.75**2))
    shuffled = np.random.default_rng(0).permutation(8)
    mixed = per_video(ccc, truth[shuffled], prediction[shuffled], np.array(videos)[shuffled])
    assert mixed == pytest.approx(both.per_video)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"truth has the shape \(4,\), prediction has \(3,\)"):
        ccc(TRUTH, PREDICTION[:3])
    with pytest.raises(ValueError, match="4 frames but 3 video names"):
        per_video(ccc, TRUTH, PREDICTION, ["a"] * 3)


def test_main_metric_is_ccc():
    assert [(m.name, m.compute(TRUTH, PREDICTION)) for m in REGRESSION] == [
        ("ccc", pytest.approx(0.8)),
        ("rmse", pytest.approx(math.sqrt(0.5))),
        ("cc", pytest.approx(1 / math.sqrt(1.25))),
    ]
