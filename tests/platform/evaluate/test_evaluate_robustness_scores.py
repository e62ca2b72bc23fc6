"""Robustness in single numbers against hand computations."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from evaluated import classes, make_tested, rows, values

from blear.contracts import Categories, Values
from blear.errors import JobError, RunError
from blear.evaluate.prediction_rows import ClipColumns, PredictionContext, prediction_rows
from blear.evaluate.statistics.robustness_scores import log_area, robustness_scores
from blear.evaluate.summarise import SummaryOptions, summarise, summarise_targets
from blear.job.reference_errors import read_errors
from blear.metrics import CLASSIFICATION, REGRESSION

TRUTH = np.arange(300) % 3
RIGHT = {("a", "clean", 0): 0.9, ("a", "blur", 1): 0.8, ("a", "blur", 2): 0.6, ("a", "noise", 1): 0.5}
RIGHT |= {("b", "clean", 0): 0.9, ("b", "blur", 1): 0.8, ("b", "blur", 2): 0.7, ("b", "noise", 1): 0.7}


def _exactly(share):
    """Predictions that are correct in the first `share` of the samples."""
    return np.where(np.arange(300) < round(share * 300), TRUTH, (TRUTH + 1) % 3)


def _found(*, pinned=None, left_out=(), without=()):
    tables = [
        classes(arm, severity, TRUTH, _exactly(right), condition=condition)
        for (arm, condition, severity), right in RIGHT.items()
        if condition not in without
    ]
    found = robustness_scores(make_tested(*tables), mce_reference=pinned, excluded=left_out)
    return {(s.arm, s.name, s.condition): s for s in found}


def test_means_drops_worst_and_area_by_hand():
    found = _found()
    assert found["a", "mean_condition", "blur"].value == pytest.approx(0.7)
    assert found["a", "mean", None].value == pytest.approx((0.7 + 0.5) / 2)  # conditions count alike
    assert found["a", "relative_drop", None].value == pytest.approx((0.9 - 0.6) / 0.9)
    assert found["b", "relative_drop", "noise"].value == pytest.approx(0.2 / 0.9)
    worst = found["a", "worst", "noise"]
    assert (worst.severity, worst.value) == (1, 0.5)
    assert found["b", "log_area", "blur"].value == pytest.approx(0.75)
    assert ("a", "log_area", "noise") not in found  # one level
    assert not any(name in {"mce", "relative_mce"} for _, name, _ in found)
    for scalar in found.values():
        assert scalar.low <= scalar.value <= scalar.high


def test_without_clean_frames_there_is_no_relative_drop():
    assert not [name for _, name, _ in _found(without=["clean"]) if name == "relative_drop"]


def test_conditions_of_a_rate_curve_are_left_out():
    found = _found(left_out=["noise"])
    assert found["a", "mean", None].value == pytest.approx(0.7)


def test_mce_against_an_arm_and_reference_errors():
    """Hendrycks and Dietterich: errors summed over severities, divided by the reference's, then averaged."""
    found = _found(pinned="a")
    assert found["a", "mce", None].value == pytest.approx(1)
    assert found["b", "mce", None].value == pytest.approx(((0.2 + 0.3) / (0.2 + 0.4) + 0.3 / 0.5) / 2)
    relative = ((0.25 - 0.1) / (0.3 - 0.1) + (0.3 - 0.1) / (0.5 - 0.1)) / 2
    assert found["b", "relative_mce", None].value == pytest.approx(relative)
    immune = _found(pinned={"clean": {0.0: 0.5}, "blur": {1.0: 0.4, 2.0: 0.6}, "noise": {1.0: 0.75}})
    assert immune["b", "relative_mce", None].value is None  # blur costs the reference nothing
    pinned = {"blur": {1.0: 0.4, 2.0: 0.6}, "noise": {5.0: 0.5}}  # noise 1 is unknown: left out
    found = _found(pinned=pinned)
    assert found["b", "mce", None].value == pytest.approx(0.25 / 0.5)
    assert ("b", "relative_mce", None) not in found  # its clean error is unknown
    assert found["b", "mce", None].low < 0.5 < found["b", "mce", None].high


def test_area_over_the_logarithm_is_scipys_trapezoid():
    x, y = np.array([1.0, 2.0, 3.0, 8.0]), np.array([0.9, 0.7, 0.65, 0.2])
    expected = np.trapezoid(y, np.log(x)) / np.log(8)
    assert log_area(x, *y) == pytest.approx(expected)
    assert log_area(1 / x[::-1], *y[::-1]) == pytest.approx(expected)  # over resolution: the same area


def test_the_interval_of_a_mean_is_narrower_and_the_worst_error_is_the_highest():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=100)
    table = make_tested(
        *(values("a", s, truth, truth + s * rng.normal(size=100), condition=c) for c in "xy" for s in (1, 2)),
        metrics=REGRESSION[1:2],
    )
    found = {(s.name, s.condition): s for s in robustness_scores(table)}
    worst = next(s for s in found.values() if s.name == "worst")
    assert worst.severity == 2  # RMSE: lower is better
    mean = found["mean", None]
    levels = [table.interval(table.estimate(key), key) for key in table.groups]
    assert mean.high - mean.low < min(high - low for low, high in levels if low > 1.5)


def test_reference_errors_are_read_and_invalid_files_are_an_error(tmp_path):
    file = tmp_path / "reference.csv"
    file.write_text("condition,severity,error\nclean,0,0.1\nblur,1,0.25\nblur,2,0.5\n")
    assert read_errors(file) == {"clean": {0.0: 0.1}, "blur": {1.0: 0.25, 2.0: 0.5}}
    for text, message in (
        ("condition,severity,error\nblur,1,25\n", "line 2 is no reference error: .*an error rate of 25"),
        ("condition,error\nblur,0.1\n", "line 2 is no reference error: KeyError"),
        ("condition,severity,error\n", "no rows"),
    ):
        file.write_text(text)
        with pytest.raises(JobError, match=message):
            read_errors(file)
    with pytest.raises(JobError, match="cannot be read"):
        read_errors(tmp_path / "none.csv")


def test_flip_rate_scores_of_conditions_with_flips():
    """Twelve clips of four frames; the prediction of the third frame differs in every second clip."""
    odd = np.arange(12) % 2 == 1
    frames = np.zeros((12, 4), dtype=int)
    frames[odd, 2] = 1
    table = rows(
        arm="a",
        stage="a",
        condition="wind",
        severity=1,
        target="emotion",
        samples=[f"s{i}" for i in range(12)],
        truth_B=np.zeros(12),
        decoded=Categories(tuple("abc"), torch.tensor(np.eye(3)[frames])),
    )
    found = {
        how: next(
            s
            for s in summarise(
                table, CLASSIFICATION, reference="a", seed=0, options=SummaryOptions(groups={"wind": group})
            ).scalars
            if s.name == "flip_rate"
        )
        for how, group in (("previous", {"flips": "previous"}), ("first", {"flips": "first"}))
    }
    assert found["previous"].value == pytest.approx(1 / 3)  # there and back: two of three steps, in half of the clips
    assert found["first"].value == pytest.approx(1 / 6)
    assert found["previous"].low < 1 / 3 < found["previous"].high
    plain = summarise(table, CLASSIFICATION, reference="a", seed=0)
    assert not [s for s in plain.scalars if s.name == "flip_rate"]
    stills = pa.concat_tables([table, classes("b", 1, np.zeros(12), np.zeros(12, int), condition="wind")])
    options = SummaryOptions(groups={"wind": {"flips": "previous"}})
    both = summarise(stills, CLASSIFICATION, reference="a", seed=0, resamples=10, options=options)
    assert [(s.arm, s.value) for s in both.scalars if s.name == "flip_rate"] == [("a", pytest.approx(1 / 3))]


def test_a_regression_target_beside_classes_has_no_flip_rate():
    """Two targets of one model; the sweep's `flips` concerns the classes."""
    names, options = {"emotion": tuple("abc"), "valence": ()}, SummaryOptions(groups={"wind": {"flips": "previous"}})
    clips = ClipColumns([f"s{i}" for i in range(4)])
    decoded = {"emotion": Categories(tuple("abc"), torch.eye(3)[torch.zeros(4, 3, dtype=torch.int64)])}
    decoded["valence"] = Values(torch.zeros(4, 3))
    tables = [
        prediction_rows(PredictionContext("a", "a", "wind", 1.0, target, 0, names), clips, np.zeros(4), given)
        for target, given in decoded.items()
    ]
    found = summarise_targets(
        pa.concat_tables(tables),
        {"emotion": CLASSIFICATION, "valence": REGRESSION},
        reference="a",
        seed=0,
        resamples=10,
        options=dict.fromkeys(names, options),
    )
    flips = [[s.name for s in each.scalars].count("flip_rate") for each in (found, *found.other_targets)]
    assert flips == [1, 0]
    alone = values("a", 1, [0, 1], [0, 1], condition="wind")
    with pytest.raises(RunError, match="a regression target has no flip rate"):
        summarise(alone, REGRESSION, reference="a", seed=0, resamples=10, options=options)
