"""Rate-accuracy: curve fits against scipy, Bjontegaard differences against the package bjontegaard, hulls."""

import bjontegaard
import numpy as np
import pytest
import scipy.interpolate
import scipy.optimize
import scipy.spatial
from evaluated import classes, make_tested, values

from blear.evaluate.statistics.bjontegaard import bd_metric, bd_rate
from blear.evaluate.statistics.curve_fitting import (
    isotonic_regression,
    pchip_integral,
    pchip_slopes,
    upper_concave_hull,
)
from blear.evaluate.statistics.rate_accuracy import rate_accuracy
from blear.evaluate.statistics.results import cubic_differs
from blear.metrics import CLASSIFICATION, REGRESSION

# Rate in kbit/s and PSNR of two H.264 encoders, four operating points each
RATE_A, PSNR_A = np.array([686.76, 309.58, 157.11, 85.95]), np.array([40.28, 37.18, 34.24, 31.42])
RATE_B, PSNR_B = np.array([893.34, 407.8, 204.93, 112.75]), np.array([40.39, 37.21, 34.17, 31.24])


def _ascending(rate, value):
    order = np.argsort(rate)
    return np.log10(rate[order]), value[order]


def test_bjontegaard_differences_equal_the_bjontegaard_package():
    a, b = _ascending(RATE_A, PSNR_A), _ascending(RATE_B, PSNR_B)
    args = (RATE_A, PSNR_A, RATE_B, PSNR_B)
    assert bd_rate(*a, *b) == pytest.approx(bjontegaard.bd_rate(*args, method="pchip"), abs=1e-4)
    assert bd_metric(*a, *b) == pytest.approx(bjontegaard.bd_psnr(*args, method="pchip"), abs=1e-6)
    assert bd_rate(*a, *a) == pytest.approx(0, abs=1e-9)
    twice = (a[0] + np.log10(2), a[1])
    assert bd_rate(*a, *twice) == pytest.approx(100)


def test_many_curves_at_once_equal_scipys_pchip_one_by_one():
    rng = np.random.default_rng(0)
    x = np.sort(rng.random((30, 6)), axis=1)
    y = rng.normal(size=(30, 6))
    low, high = x[:, 0] + 0.1 * np.ptp(x, axis=1), x[:, -1] - 0.2 * np.ptp(x, axis=1)
    found, derivatives = pchip_integral(x, y, low, high), pchip_slopes(x, y)
    for i in range(30):
        curve = scipy.interpolate.PchipInterpolator(x[i], y[i])
        assert found[i] == pytest.approx(float(curve.integrate(low[i], high[i])), abs=1e-12)
        np.testing.assert_allclose(derivatives[i], curve.derivative()(x[i]), atol=1e-10)
        np.testing.assert_allclose(isotonic_regression(y)[i], scipy.optimize.isotonic_regression(y[i]).x, atol=1e-12)


def test_the_hull_equals_scipys_and_never_decreases():
    rng = np.random.default_rng(1)
    x, y = np.sort(rng.random(15)), rng.random(15)
    corners = scipy.spatial.ConvexHull(np.stack([np.r_[x, x[0], x[-1]], np.r_[y, -1, -1]], 1)).vertices
    above = np.sort([c for c in corners if c < 15])
    expected = np.maximum.accumulate(np.interp(x, x[above], y[above]))
    np.testing.assert_allclose(upper_concave_hull(x, y), expected, atol=1e-12)


def test_a_plateau_is_a_step_of_the_rate():
    """b reaches 0.6 at 100 kbit/s and stays there up to 1000; the mean log-rate at equal metric ignores the step."""
    a = (np.log10([10.0, 100, 1000, 10000]), np.array([0.4, 0.6, 0.8, 1.0]))
    b = (np.log10([10.0, 100, 1000, 10000]), np.array([0.4, 0.6, 0.6, 1.0]))
    value = bd_rate(*a, *b)
    assert np.isfinite(value)
    assert value > 0


SHARE = {10: 0.5, 20: 0.6, 40: 0.7, 80: 0.75, 160: 0.8, 320: 0.82}
TRUTH = np.arange(400) % 3


def _points(arm, gain=0.0, *, shares=SHARE, factor=1.0, condition="h264", wobble=True):
    """One condition for each bit rate: exact accuracies, and bit rates that differ between samples."""
    noise = np.random.default_rng(7).normal(1, 0.1 * wobble, 400)
    noise /= noise.mean()
    return [
        classes(
            arm,
            float(kbps),
            TRUTH,
            np.where(np.arange(400) < round((share + gain) * 400), TRUTH, (TRUTH + 1) % 3),
            condition=condition,
            kbps=kbps * factor * noise,
        )
        for kbps, share in shares.items()
    ]


def test_a_constant_gain_is_the_bd_accuracy_and_half_the_rate_is_minus_50_per_cent():
    groups = {"h264": {"codec": "h264", "shrink": 1}}
    table = make_tested(*_points("a"), *_points("b", 0.05), *_points("c", factor=0.5), metrics=CLASSIFICATION[:1])
    curves, bd = rate_accuracy(table, groups)
    assert [(c.arm, c.codec, c.factor, len(c.points), c.enough) for c in curves] == [
        (arm, "h264", "shrink 1", 6, True) for arm in "abc"
    ]
    assert [p.kbps for p in curves[0].points] == pytest.approx(list(SHARE))
    assert [p.value for p in curves[0].points] == pytest.approx(list(SHARE.values()))
    assert all(p.low < p.value < p.high and p.fitted == pytest.approx(p.value) for p in curves[0].points)
    found = {(n.arm, n.kind): n for n in bd}
    assert found["b", "metric"].value == pytest.approx(0.05)
    assert found["b", "metric"].low < 0.05 < found["b", "metric"].high
    assert found["c", "rate"].value == pytest.approx(-50, abs=1e-6)
    assert (found["c", "rate"].low, found["c", "rate"].high) == pytest.approx((-50, -50), abs=1e-6)  # paired
    assert all(n.against == "a" and n.metric == "accuracy" and not n.undefined for n in bd)


def test_rate_accuracy_equals_the_bjontegaard_package():
    better = dict(zip(SHARE, (0.52, 0.66, 0.73, 0.80, 0.81, 0.86), strict=True))
    table = make_tested(*_points("a"), *_points("b", shares=better, factor=1.1), metrics=CLASSIFICATION[:1])
    _, bd = rate_accuracy(table, {})
    args = (list(SHARE), list(SHARE.values()), [1.1 * k for k in better], list(better.values()))
    by_kind = {n.kind: n for n in bd}
    assert by_kind["rate"].value == pytest.approx(bjontegaard.bd_rate(*args, method="pchip"), abs=1e-3)
    assert by_kind["metric"].value == pytest.approx(bjontegaard.bd_psnr(*args, method="pchip"), abs=1e-6)
    for number in bd:
        assert number.low < number.value < number.high


def test_undefined_differences_have_a_reason():
    far = {k * 100: share for k, share in SHARE.items()}
    low = {k: share - 0.4 for k, share in SHARE.items()}
    flat = dict.fromkeys(SHARE, 0.7)
    few = {10: 0.5, 20: 0.6, 40: 0.7}
    table = make_tested(
        *_points("a"),
        *_points("far", shares=far),
        *_points("low", shares=low),
        *_points("flat", shares=flat),
        *_points("few", shares=few),
        metrics=CLASSIFICATION[:1],
        resamples=20,
    )
    found = {(n.arm, n.kind): n for n in rate_accuracy(table, {})[1]}
    assert (
        found["far", "metric"].undefined == "the bit rates do not overlap: 10 to 320 kbit/s and 1000 to 3.2e+04 kbit/s"
    )
    assert found["far", "rate"].value == pytest.approx(9900, rel=1e-6)
    assert found["low", "rate"].undefined == "the curves reach no common Accuracy: 0.5 to 0.82 and 0.1 to 0.42"
    assert found["low", "metric"].value == pytest.approx(-0.4)
    assert found["flat", "rate"].undefined == "Accuracy of flat does not increase with the bit rate"
    assert found["few", "rate"].undefined == "few has 3 points, 4 are needed"
    assert all((n.value is None) == bool(n.undefined) and (n.low is None or not n.undefined) for n in found.values())


def test_hulls_cover_all_factors_and_factors_are_compared_with_the_first():
    small = {5: 0.55, 10: 0.6, 20: 0.62, 40: 0.63}  # half size: better at few bits, worse at many
    tables = [table for arm in "ab" for table in (*_points(arm), *_points(arm, shares=small, condition="half"))]
    groups = {"h264": {"codec": "h264", "shrink": 1}, "half": {"codec": "h264", "shrink": 2}}
    curves, bd = rate_accuracy(make_tested(*tables, metrics=CLASSIFICATION[:1], resamples=20), groups)
    hull = next(c for c in curves if c.factor == "hull" and c.arm == "a")
    chosen = [(p.condition, p.severity) for p in hull.points]
    assert chosen[:2] == [("half", 5), ("half", 10)]
    assert chosen[-1] == ("h264", 320)
    assert ("h264", 10) not in chosen
    assert ("half", 40) not in chosen
    pairs = {(n.arm, n.factor, n.against, n.against_factor): n.value for n in bd if n.kind == "metric"}
    assert pairs["b", "hull", "a", "hull"] == pytest.approx(0)
    assert pairs["b", "shrink 2", "a", "shrink 2"] == pytest.approx(0)
    ours, first = (scipy.interpolate.PchipInterpolator(np.log10([*s]), [*s.values()]) for s in (small, SHARE))
    low, high = np.log10([10, 40])
    expected = (ours.integrate(low, high) - first.integrate(low, high)) / (high - low)
    assert pairs["a", "shrink 2", "a", "shrink 1"] == pytest.approx(expected)


def test_errors_and_ccc_have_bjontegaard_differences():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    tables = [
        values(arm, kbps, truth, truth + noise * rng.normal(size=200) / np.log(kbps), kbps=float(kbps))
        for arm, noise in (("a", 2.0), ("b", 1.0))
        for kbps in (10, 20, 40, 80, 160, 320)
    ]
    _, bd = rate_accuracy(make_tested(*tables, metrics=REGRESSION), {})
    found = {(n.metric, n.kind): n for n in bd}
    assert found["ccc", "metric"].value > 0 > found["rmse", "metric"].value
    assert found["rmse", "metric"].high < 0
    assert found["rmse", "rate"].value < 0


def test_conditions_without_a_bit_rate_have_no_curve():
    assert rate_accuracy(make_tested(classes("a", 1, TRUTH, TRUTH)), {}) == ([], [])


def test_cubic_fits_equal_the_bjontegaard_package_and_are_reported_where_they_differ():
    better = dict(zip(SHARE, (0.52, 0.66, 0.64, 0.80, 0.81, 0.86), strict=True))  # falls once: isotonic pools it
    table = make_tested(*_points("a"), *_points("b", shares=better, factor=1.1), metrics=CLASSIFICATION[:1])
    args = (list(SHARE), list(SHARE.values()), [1.1 * k for k in better], list(better.values()))
    found = {n.kind: n for n in rate_accuracy(table, {})[1]}
    expected = bjontegaard.bd_rate(*args, method="cubic", require_matching_points=False)
    assert found["rate"].cubic == pytest.approx(expected, abs=1e-3)
    assert found["metric"].cubic == pytest.approx(bjontegaard.bd_psnr(*args, method="cubic"), abs=1e-6)
    assert cubic_differs(found["rate"])
    same = {n.kind: n for n in rate_accuracy(make_tested(*_points("a"), *_points("a2")), {})[1]}
    assert same["rate"].cubic == pytest.approx(0, abs=1e-6)
    assert not cubic_differs(same["rate"])


def test_the_mean_of_single_videos_equals_the_mean_of_their_own_differences():
    videos = np.arange(400) // 100  # four videos of 100 frames
    generator = np.random.default_rng(0)
    gains = {"a": 0.0, "b": 0.06}
    right = {
        (arm, kbps): generator.random(400) < share + gains[arm] + 0.03 * videos
        for arm in gains
        for kbps, share in SHARE.items()
    }
    tables = [
        classes(
            arm,
            float(kbps),
            TRUTH,
            np.where(right[arm, kbps], TRUTH, (TRUTH + 1) % 3),
            kbps=kbps * (1 + 0.1 * videos),
            videos=[f"v{number}" for number in videos],
        )
        for arm in gains
        for kbps in SHARE
    ]
    table = make_tested(*tables, metrics=CLASSIFICATION[:1], resamples=20)
    found = next(n for n in rate_accuracy(table, {})[1] if n.kind == "metric")
    expected = []
    for video in range(4):
        own = videos == video
        x = np.log10(np.array(list(SHARE)) * (1 + 0.1 * video))
        curves = [isotonic_regression(np.array([right[arm, k][own].mean() for k in SHARE])) for arm in gains]
        expected.append(float(bd_metric(x, curves[0], x, curves[1])))
    assert found.videos == 4
    assert found.per_video == pytest.approx(np.mean(expected))
    assert found.per_video != pytest.approx(found.value, abs=1e-6)
