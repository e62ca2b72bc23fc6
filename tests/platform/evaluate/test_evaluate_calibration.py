"""Calibration against loops written from the definitions, scipy, and properties that hold by construction."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import scipy.optimize
import scipy.special
from evaluated import classes, make_tested, values

from blear.evaluate.statistics.calibration import (
    calibration_scores,
    calibrations,
    confusion_matrices,
    fit_temperature,
    reliability_bins,
    scale_temperature,
    selective_risks,
)
from blear.evaluate.statistics.temperature import fit_temperatures
from blear.job.schema import Pool


def _given(n=500, k=4, sharp=2.0, seed=0):
    """Calibrated probabilities [N, K]: the class of each row is drawn from the row."""
    rng = np.random.default_rng(seed)
    p = scipy.special.softmax(sharp * rng.normal(size=(n, k)), axis=1)
    return p, np.array([rng.choice(k, p=row) for row in p])


def test_scores_of_four_decisions_by_hand():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]])
    truth = np.array([0, 1, 1, 1])
    found = calibration_scores(p, truth)
    assert found.brier == pytest.approx((0.02 + 1.28 + 0.18 + 0.405) / 4)
    assert found.nll == pytest.approx(-np.log([0.9, 0.2, 0.7, 0.55]).mean())
    # every decision is alone in its bin: |1 - .9| + |0 - .8| + |1 - .7| + |1 - .55|
    assert found.ece == pytest.approx((0.1 + 0.8 + 0.3 + 0.45) / 4)
    assert found.ece_mass == pytest.approx(found.ece)


def _ece_by_loops(p, truth, edges):
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    total = 0.0
    for low, high in pairwise(edges):
        here = (confidence > low) & (confidence <= high)
        if here.any():
            total += here.mean() * abs(right[here].mean() - confidence[here].mean())
    return total


def test_ece_equals_a_loop_over_the_bins():
    p, truth = _given()
    confidence = np.sort(p.max(axis=1))
    found = calibration_scores(p, truth)
    assert found.ece == pytest.approx(_ece_by_loops(p, truth, np.linspace(0, 1, 16)))
    parts = [part for part in np.array_split(confidence, 15) if len(part)]
    assert {len(part) for part in parts} == {33, 34}
    order = np.argsort(p.max(axis=1), kind="stable")
    bins = np.split(order, [-(-500 * b // 15) for b in range(1, 15)])
    gaps = [abs((p.argmax(1) == truth)[b].mean() - p.max(1)[b].mean()) * len(b) / 500 for b in bins]
    assert found.ece_mass == pytest.approx(sum(gaps))


def test_bins_contain_every_decision_and_reproduce_the_error():
    p, truth = _given()
    bars = reliability_bins(p, truth)
    assert [(bars[0].low, bars[-1].high, len(bars))] == [(0, 1, 15)]
    assert sum(bar.n for bar in bars) == 500
    assert sum(b.n * abs(b.accuracy - b.confidence) for b in bars if b.n) / 500 == pytest.approx(
        calibration_scores(p, truth).ece
    )
    assert bars[0].confidence is None  # four classes: no confidence below a quarter
    sure = reliability_bins(np.array([[1.0, 0.0]]), np.array([0]))
    assert [bar.n for bar in sure] == [0] * 14 + [1]


def test_risk_coverage_by_hand_with_ties():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    assert selective_risks(p, np.array([0, 1, 0, 1])).tolist() == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    tied = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    assert selective_risks(tied, np.array([0, 1, 0])).tolist() == pytest.approx([0.5, 0.5, 1 / 3])
    assert selective_risks(tied[::-1], np.array([0, 1, 0])).tolist() == pytest.approx([0.5, 0.5, 1 / 3])


def test_a_known_temperature_is_recovered():
    p, truth = _given(n=4000)
    assert fit_temperature(p, truth) == pytest.approx(1, abs=0.06)
    for temperature in (0.5, 3.0):
        assert fit_temperature(scale_temperature(p, 1 / temperature), truth) == pytest.approx(
            temperature * fit_temperature(p, truth), rel=1e-3
        )
    sharp = scale_temperature(p, 1 / 3)
    fitted = fit_temperature(sharp, truth)
    expected = scipy.optimize.minimize_scalar(
        lambda t: calibration_scores(scale_temperature(sharp, t), truth).nll, bounds=(1, 6)
    )
    assert fitted == pytest.approx(expected.x, rel=1e-3)
    assert calibration_scores(scale_temperature(sharp, fitted), truth).ece < calibration_scores(sharp, truth).ece / 3


def test_scaling_works_on_logits_and_keeps_the_decision():
    logits = np.random.default_rng(1).normal(size=(50, 7)) * 4
    p = scipy.special.softmax(logits, axis=1)
    np.testing.assert_allclose(scale_temperature(p, 2.5), scipy.special.softmax(logits / 2.5, axis=1), atol=1e-12)
    assert scale_temperature(np.array([[1.0, 0.0]]), 2.0)[0].tolist() == pytest.approx([1, 0])


def test_only_groups_of_a_stage_with_a_temperature_are_scaled():
    p, truth = _given(k=3)
    flat = np.full((500, 3), 1 / 3)
    table = make_tested(
        classes("a", 1, truth, p.argmax(1), probabilities=p),
        classes("a", 2, truth, flat.argmax(1), probabilities=flat),
        classes("b", 1, truth, p.argmax(1), probabilities=p, found=np.arange(500) % 2 == 0),
    )
    first, second, third = calibrations(table, {("a", "a", 0): 2.0})
    assert (first.n, first.severity, first.temperature, third.temperature, third.scaled) == (500, 1, 2.0, None, None)
    assert first.scores.nll == pytest.approx(calibration_scores(p, truth).nll, abs=1e-6)
    assert first.scaled.nll == pytest.approx(calibration_scores(scale_temperature(p, 2.0), truth).nll, abs=1e-5)
    assert second.scores.nll == pytest.approx(np.log(3), abs=1e-6)
    assert second.aurc == pytest.approx((truth != 0).mean())
    assert second.risk == pytest.approx([(truth != 0).mean()] * 20)
    assert third.n == 250
    assert third.scores.brier == pytest.approx(calibration_scores(p[::2], truth[::2]).brier, abs=1e-6)
    assert first.risk[-1] == pytest.approx((p.argmax(1) != truth).mean())


def test_confusion_rows_are_true_classes_and_regression_has_none():
    table = make_tested(classes("a", 1, [0, 0, 1, 2], [0, 1, 1, 0]))
    assert next(iter(confusion_matrices(table))).counts == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    numbers = make_tested(values("a", 1, [0, 1, 2.5], [0, 1, 2]))
    assert [*confusion_matrices(numbers), *calibrations(numbers)] == []


def test_each_stage_of_an_arm_has_its_own_temperature():
    p, truth = _given(k=3, n=900)
    sharp = scale_temperature(p, 1 / 3)
    half = np.arange(900) % 2 == 0
    table = pa.concat_tables(
        [
            classes("one", 0, truth, p.argmax(1), probabilities=p, condition="clean"),
            classes("experts", 1, truth, sharp.argmax(1), probabilities=sharp, stage="e1", found=half),
            classes(
                "experts", 2, truth, p.argmax(1), probabilities=p, stage="e2", videos=[f"v{i}" for i in range(900)]
            ),
        ]
    )
    found = fit_temperatures(table, None)
    assert set(found) == {("one", "one", 0), ("experts", "e1", 0), ("experts", "e2", 0)}
    assert found["one", "one", 0] == pytest.approx(fit_temperature(p, truth), rel=1e-4)
    assert found["experts", "e1", 0] == pytest.approx(fit_temperature(sharp[half], truth[half]), rel=1e-3)
    assert found["experts", "e1", 0] > 2 * found["experts", "e2", 0]
    twice = pa.concat_tables([table, table])  # two equal rows of a sample make the same decision
    of_twice = fit_temperatures(twice, Pool(by="sample"))
    assert of_twice["one", "one", 0] == pytest.approx(found["one", "one", 0], rel=1e-3)
    assert fit_temperatures(values("a", 1, [0, 1], [0, 1]), None) == {}
