"""Several training seeds of each arm: means, intervals that cover the chance of training, tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
from evaluated import classes, make_tested, values

from blear.errors import RunError
from blear.evaluate.markdown import summary_markdown
from blear.evaluate.pool import pool_predictions
from blear.evaluate.predictions import read_predictions
from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate
from blear.evaluate.statistics.calibration import calibrations, confusion_matrices
from blear.evaluate.statistics.paired_tests import paired_tests
from blear.evaluate.statistics.resampler import Resampler
from blear.evaluate.statistics.temperature import fit_temperatures
from blear.evaluate.statistics.video_curves import _video_curves
from blear.evaluate.summarise import SummaryOptions, summarise
from blear.metrics import CLASSIFICATION, REGRESSION

ACCURACY, RMSE = CLASSIFICATION[:1], REGRESSION[1]
KEY = ("a", "blur", 1.0)


def experiment(arms: str, seeds: int, subjects: int, samples: int) -> pa.Table:
    """Rows of each arm and seed; `with_accuracy` replaces the predictions."""
    subject = np.repeat(np.arange(subjects), samples)
    names = {"subjects": [f"p{s}" for s in subject]}
    return pa.concat_tables(
        [classes(arm, 1, 0 * subject, 0 * subject, seed=seed, **names) for arm in arms for seed in range(seeds)]
    )


def with_accuracy(rng: np.random.Generator, table: pa.Table, accuracy_N: np.ndarray) -> pa.Table:
    wrong = rng.random(table.num_rows) >= accuracy_N
    return table.set_column(table.column_names.index("prediction"), "prediction", pa.array(wrong.astype(float)))


def test_the_95_percent_interval_covers_the_chance_of_training() -> None:
    """Mean accuracy 0.6; it differs between trainings (0.05) and between 20 subjects (0.1)."""
    rng, covered, experiments = np.random.default_rng(5), {"three": 0, "one": 0}, 200
    blank = experiment("a", 3, 20, 10)
    first = blank["seed"].to_numpy() == 0
    for seed in range(experiments):
        accuracy = 0.6 + rng.normal(0, 0.05, (3, 1, 1)) + rng.normal(0, 0.1, (1, 20, 1)) + np.zeros((3, 20, 10))
        table = with_accuracy(rng, blank, accuracy.ravel())
        for name, rows in (("three", table), ("one", table.filter(first))):
            tested = make_tested(rows, metrics=ACCURACY, resamples=300, seed=seed)
            low, high = tested.interval(tested.estimate(KEY), KEY)
            covered[name] += low <= 0.6 <= high
    assert 0.92 <= covered["three"] / experiments <= 0.99
    assert covered["one"] / experiments < 0.8


def test_equal_procedures_differ_in_about_5_of_100_experiments() -> None:
    """With one training of each arm, the permutation test finds the luck of the seeds."""
    rng, rejected, experiments = np.random.default_rng(6), {"three": 0, "one": 0}, 100
    blank = experiment("ab", 3, 15, 20)
    first = blank["seed"].to_numpy() == 0
    for seed in range(experiments):
        accuracy = (
            0.6 + rng.normal(0, 0.05, (2, 3, 1, 1)) + rng.normal(0, 0.1, (1, 1, 15, 1)) + np.zeros((2, 3, 15, 20))
        )
        table = with_accuracy(rng, blank, accuracy.ravel())
        for name, rows in (("three", table), ("one", table.filter(first))):
            (test,) = paired_tests(make_tested(rows, metrics=ACCURACY, resamples=300, seed=seed))
            assert test.method == ("bootstrap" if name == "three" else "permutation")
            rejected[name] += test.p < 0.05
    assert rejected["three"] <= 9
    assert rejected["one"] > 20


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_deviation_of_the_seeds_is_students_t(seeds: int) -> None:
    """Without chance in the clusters, the interval is the t interval of the values of the seeds."""
    rng, resamples = np.random.default_rng(seeds), 40_000
    found = rng.normal(size=seeds)
    constant = [BootstrapEstimate(float(v), np.full(resamples, v), np.full(4, v)) for v in found]
    estimate = Resampler(4, resamples, 0).mean_over_seeds(constant)
    low, high = np.quantile(estimate.distribution_R, [0.05, 0.95])
    expected = scipy.stats.t.interval(0.9, seeds - 1, found.mean(), found.std(ddof=1) / np.sqrt(seeds))
    assert estimate.value == pytest.approx(found.mean())
    assert (low, high) == pytest.approx(expected, rel=0.05, abs=0.05)


def test_values_are_means_over_the_seeds() -> None:
    truth = np.zeros(12)
    given = {("a", 0): 1.0, ("a", 4): 3.0, ("b", 0): 1.5, ("b", 4): 3.5}
    videos = {"videos": [f"v{i // 2}" for i in range(12)]}
    table = pa.concat_tables([values(arm, 1, truth, truth + v, seed=s, **videos) for (arm, s), v in given.items()])
    summary = summarise(table, [RMSE], reference="a", seed=0, resamples=50, options=SummaryOptions(slices=["video"]))
    assert summary.seeds == [0, 4]
    one = summary.estimate("a", "blur", 1)
    assert (one.value, one.seed_sd, one.n, one.clusters, one.per_video) == (2.0, pytest.approx(np.sqrt(2)), 12, 6, 2.0)
    assert one.low < 1 < 3 < one.high  # two trainings say little
    (difference,) = summary.differences
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.5, 0.5, 0.5))  # the pairs agree
    assert {s.n for s in summary.slices} == {2}
    assert "mean over 2 trainings (seeds 0, 4)" in summary_markdown(summary)


def test_a_seed_is_only_a_name_where_there_is_one() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    noise = rng.normal(size=40)
    made = [
        summarise(values("a", 1, truth, truth + noise, seed=seed), REGRESSION, reference="a", seed=0, resamples=100)
        for seed in (0, 7)
    ]
    assert made[0] == made[1]
    assert made[0].seeds == []
    assert "one training with one seed" not in summary_markdown(made[0])  # one arm, no test


def test_arms_with_different_seeds_are_refused() -> None:
    tables = [classes("a", 1, [0, 1, 2], [0, 1, 1], seed=seed) for seed in (0, 1)]
    with pytest.raises(RunError, match=r"different training seeds: a \[0, 1\], b one"):
        make_tested(*tables, classes("b", 1, [0, 1, 2], [0, 1, 1]))


def test_decisions_of_several_seeds_are_not_pooled() -> None:
    tables = [values("a", 1, [0, 0], [seed, seed], seed=seed, samples=["s", "s"]) for seed in (1, 2)]
    pooled = pool_predictions(pa.concat_tables(tables), "sample")
    assert pooled.select(["seed", "prediction"]).to_pylist() == [
        {"seed": 1, "prediction": 1.0},
        {"seed": 2, "prediction": 2.0},
    ]


def test_a_table_without_seeds_is_of_one_seed(tmp_path: Path) -> None:
    table = values("a", 1, [0, 1], [0, 1], seed=5)
    pq.write_table(table.drop_columns(["seed"]), tmp_path / "predictions.parquet")
    assert read_predictions(tmp_path / "predictions.parquet")["seed"].to_pylist() == [0, 0]


def _with_confidence(confidence: float, right: float, seed: int) -> tuple[pa.Table, np.ndarray]:
    """100 decisions between two classes with one confidence, of which a share is right."""
    truth = np.arange(100) % 2
    prediction = np.where(np.arange(100) < 100 * right, truth, 1 - truth)
    p = np.where(np.eye(2)[prediction] == 1, confidence, 1 - confidence)
    return classes("a", 1, truth, prediction, names="xy", probabilities=p, seed=seed), p


def test_calibration_is_the_mean_over_the_trainings() -> None:
    """One training is under-confident by 0.1, the other over-confident by 0.1: together they look calibrated."""
    (under, _), (over, _) = _with_confidence(0.8, 0.9, 3), _with_confidence(0.8, 0.7, 5)
    alone = [next(calibrations(make_tested(table))) for table in (under, over)]
    (both,) = calibrations(make_tested(under, over))
    assert [one.scores.ece for one in (*alone, both)] == pytest.approx([0.1, 0.1, 0.1], abs=1e-6)
    assert both.n == 100
    assert both.aurc == pytest.approx(0.2)
    assert both.risk == pytest.approx(np.mean([one.risk for one in alone], axis=0))
    (bar,) = (bar for bar in both.bins if bar.n)
    assert (bar.n, bar.confidence, bar.accuracy) == (100, pytest.approx(0.8), pytest.approx(0.8))
    temperatures = fit_temperatures(pa.concat_tables([under, over]), None)
    assert list(temperatures) == [("a", "a", 3), ("a", "a", 5)]
    assert temperatures["a", "a", 3] < 1 < temperatures["a", "a", 5]
    (scaled,) = calibrations(make_tested(under, over), temperatures)
    assert scaled.scaled.ece == pytest.approx(0, abs=1e-4)
    assert scaled.temperature == pytest.approx(np.mean(list(temperatures.values())))
    assert next(confusion_matrices(make_tested(under, over))).counts == [[80, 20], [20, 80]]


def test_curves_of_single_videos_are_means_over_the_trainings() -> None:
    """Balanced accuracy of two trainings with different recalls of the decisions together is not their mean."""
    balanced, truth, names = CLASSIFICATION[1], [0, 0, 0, 1], {"videos": ["v"] * 4}
    tables = []
    for severity, kbps in enumerate((1.0, 2.0, 4.0, 8.0), 1):
        tables += [classes("a", severity, truth, truth, seed=0, kbps=[kbps] * 4, **names)]
        found = np.array([True, False, False, True])  # the second training lacks two faces
        tables += [classes("a", severity, truth, [1, 0, 0, 1], seed=1, kbps=[kbps] * 4, found=found, **names)]
    tested = make_tested(*tables, metrics=[balanced])
    _, y_VP = _video_curves(tested, tested.videos_N, list(tested.groups), balanced)
    assert y_VP == pytest.approx(np.full((1, 4), (1 + 0.5) / 2))
