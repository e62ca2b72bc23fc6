"""Estimates, paired differences and the Markdown table."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from evaluated import classes, make_tested, rows

from blear.contracts import Metric, Values
from blear.errors import RunError
from blear.evaluate.compare_markdown import comparison_markdown
from blear.evaluate.markdown import format_number, summary_markdown
from blear.evaluate.statistics.paired_tests import paired_tests
from blear.evaluate.summarise import summarise
from blear.evaluate.summary import read_summary
from blear.metrics import CLASSIFICATION


def _mae(truth, prediction):
    return float(np.abs(truth - prediction).mean())


def _pearson(truth, prediction):
    return float(np.corrcoef(truth, prediction)[0, 1])


MAE = Metric("mae", "MAE", _mae, False)
PEARSON = Metric("pearson", "Pearson r", _pearson, True)


def _table(arm, severity, truth, prediction, **columns):
    values = torch.tensor(np.asarray(prediction, dtype=np.float64))[:, None]
    given = {"samples": [f"s{i}" for i in range(len(truth))], "stage": arm} | columns
    return rows(
        arm=arm,
        condition="downscale",
        severity=severity,
        target="valence",
        truth_B=np.asarray(truth),
        decoded=Values(values),
        **given,
    )


def test_exact_values_of_a_small_table():
    videos = ["u", "u", "v", "w"]
    tables = [
        _table(
            "a", 1, [0, 0, 0, 0], [1, 3, 5, 7], videos=videos, found=[True, True, True, False], face_px=[8, 10, 12, 99]
        ),
        _table("b", 1, [0, 0, 0, 0], [1, 1, 1, 1], videos=videos),
    ]
    summary = summarise(pa.concat_tables(tables), [MAE], reference="a", seed=0, resamples=50)
    a, b = summary.estimates
    assert (a.value, a.per_video, a.n, a.missed, a.clusters, a.face_px, a.kbps) == (3.0, 3.5, 3, 1, 2, 10.0, None)
    assert (a.low, a.high) == (None, None)  # two clusters
    assert (b.value, b.low, b.high, b.missed, b.clusters, b.stages) == (1.0, 1.0, 1.0, 0, 3, ["b"])
    (difference,) = summary.differences
    assert (difference.arm, difference.value, difference.low, difference.excludes_zero) == ("b", -2.0, None, None)
    assert (summary.cluster, summary.clusters, summary.target, summary.arms) == ("video", 3, "valence", ["a", "b"])
    assert "1 of 8 rows are excluded: no face was found." in summary_markdown(summary)


@pytest.mark.parametrize(
    ("columns", "kind", "count"),
    [
        ({}, "sample", 6),
        ({"subjects": list("ppqqrr")}, "subject", 3),
        ({"subjects": list("ppqqrr"), "videos": list("abcdef")}, "subject", 3),
        ({"subjects": [*"ppqqr", ""], "videos": list("aabbcc")}, "video", 3),
        ({"subjects": [*"ppqqr", ""], "videos": [*"abcde", ""]}, "sample", 6),
    ],
)
def test_clusters_are_subjects_else_videos_else_samples(columns, kind, count):
    summary = summarise(_table("a", 1, range(6), range(6), **columns), [MAE], reference="a", seed=0, resamples=9)
    assert (summary.cluster, summary.clusters) == (kind, count)
    assert f"{count} {kind}s" in summary_markdown(summary)


def test_the_job_can_name_the_clusters():
    table = _table("a", 1, range(6), [1, 2, 3, 4, 5, 9], subjects=list("ppqqrr"), videos=[*"abcde", ""])
    summary = summarise(table, [MAE], reference="a", seed=0, resamples=9, cluster="sample")
    assert (summary.cluster, summary.clusters) == ("sample", 6)
    with pytest.raises(RunError, match="not every sample has a video") as error:
        summarise(table, [MAE], reference="a", seed=0, resamples=9, cluster="video")
    assert error.value.where == "evaluate.cluster"


def test_means_over_videos_do_not_depend_on_the_clusters():
    table = _table("a", 1, [0] * 6, [1, 3, 5, 5, 6, 8], subjects=list("ppqqrr"), videos=list("abccde"))
    for cluster in ("subject", "video", "sample"):
        summary = summarise(table, [MAE], reference="a", seed=0, resamples=9, cluster=cluster)
        assert summary.estimates[0].per_video == (1 + 3 + 5 + 6 + 8) / 5


def _recordings(subjects, arms, videos=12, clips=4):
    """Rows of 4 clips in each of 12 videos of each subject; `_with_accuracy` replaces the predictions."""
    video = np.repeat(np.arange(subjects * videos), clips)
    names = {"videos": [f"v{v}" for v in video], "subjects": [f"p{v // videos}" for v in video]}
    return pa.concat_tables([classes(arm, 1, 0 * video, 0 * video, **names) for arm in arms])


def _with_accuracy(rng, table, accuracy_S):
    """Predictions that are right with the accuracy of the subject, which differs a little between its videos."""
    accuracy_V = np.repeat(accuracy_S, 12) + rng.normal(0, 0.05, 12 * len(accuracy_S))
    wrong = rng.random(table.num_rows) >= np.repeat(accuracy_V, 4)
    return table.set_column(table.column_names.index("prediction"), "prediction", pa.array(wrong.astype(float)))


def test_the_95_percent_interval_covers_the_truth_where_subjects_have_several_videos():
    """20 subjects of 12 videos each. Resamples of videos cover the true accuracy in about half of the experiments."""
    rng, covered, blank = np.random.default_rng(3), {None: 0, "video": 0}, _recordings(20, "a")
    for seed in range(200):
        table = _with_accuracy(rng, blank, rng.normal(0.6, 0.15, 20))
        for kind in covered:
            tested = make_tested(table, metrics=CLASSIFICATION[:1], resamples=300, seed=seed, cluster=kind)
            low, high = tested.interval(tested.estimate(("a", "blur", 1.0)), ("a", "blur", 1.0))
            covered[kind] += low <= 0.6 <= high
    assert 0.9 <= covered[None] / 200 <= 0.97
    assert covered["video"] / 200 < 0.7


def test_paired_tests_reject_equal_arms_in_about_5_of_100_experiments():
    """Each subject prefers one of the arms by chance, so that swaps of single videos find differences too often."""
    rng, rejected, blank = np.random.default_rng(4), {None: 0, "video": 0}, _recordings(10, "ab")
    for seed in range(100):
        preference_S = rng.normal(0, 0.15, 10)
        table = _with_accuracy(rng, blank, np.concatenate([0.6 + preference_S, 0.6 - preference_S]))
        for kind in rejected:
            (test,) = paired_tests(
                make_tested(table, metrics=CLASSIFICATION[:1], resamples=20, seed=seed, cluster=kind)
            )
            rejected[kind] += test.p < 0.05
    assert rejected[None] <= 10
    assert rejected["video"] > 20


def test_differences_are_paired_and_signed():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=300)
    noise = rng.normal(0, 2, size=300)
    tables = [
        _table("clean", 8, truth, truth + noise),
        _table("slightly better", 8, truth, truth + 0.97 * noise),
        _table("same", 8, truth, truth + noise),
    ]
    summary = summarise(pa.concat_tables(tables), [MAE], reference="clean", seed=0)
    better, same = summary.differences
    clean, arm = summary.estimate("clean", "downscale", 8), summary.estimate("slightly better", "downscale", 8)
    assert clean.low < arm.high  # the intervals overlap, yet the paired difference is certain
    assert better.excludes_zero
    assert better.low < better.value < better.high < 0
    assert (same.value, same.low, same.high, same.excludes_zero) == (0.0, 0.0, 0.0, False)


def test_pairing_needs_no_common_order_of_rows():
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=50), rng.normal(size=50)
    order = rng.permutation(50)
    names = np.array([f"s{i:02}" for i in range(50)])
    straight = _table("a", 1, truth, truth + noise, samples=names.tolist())
    mixed = _table("b", 1, truth[order], (truth + noise)[order], samples=names[order].tolist())
    summary = summarise(pa.concat_tables([straight, mixed]), [MAE], reference="a", seed=0, resamples=100)
    assert summary.differences[0].high == pytest.approx(0, abs=1e-12)
    assert summary.differences[0].low == pytest.approx(0, abs=1e-12)


def test_an_undefined_metric_is_null_without_a_warning(tmp_path):
    summary = summarise(_table("a", 1, [1, 1, 1, 1], [1, 2, 3, 4]), [PEARSON], reference="a", seed=0, resamples=20)
    (e,) = summary.estimates
    assert (e.value, e.low, e.high) == (None, None, None)
    assert "| a | undefined |" in summary_markdown(summary)
    path = tmp_path / "summary.json"
    path.write_text(summary.model_dump_json())
    assert read_summary(path) == summary


def test_the_same_seed_gives_the_same_summary_and_another_does_not():
    rng = np.random.default_rng(0)
    table = _table("a", 1, rng.normal(size=40), rng.normal(size=40))
    first, again, other = (summarise(table, [MAE, PEARSON], reference="a", seed=s, resamples=50) for s in (0, 0, 1))
    assert first == again
    assert first.estimates[0].low != other.estimates[0].low


def test_an_arm_may_lack_a_severity():
    tables = [_table("a", s, range(5), range(5)) for s in (2, 4)] + [_table("b", 4, range(5), range(1, 6))]
    summary = summarise(pa.concat_tables(tables), [MAE], reference="a", seed=0, resamples=20)
    assert summary_markdown(summary).splitlines()[:4] == [
        "| MAE, downscale | 2 | 4 |",
        "| --- | ---: | ---: |",
        "| a | 0.000 [0.000, 0.000] | 0.000 [0.000, 0.000] |",
        "| b | - | 1.000 [1.000, 1.000] |",
    ]
    assert summary.differences[0].excludes_zero  # no star: with 5 samples the smallest p value is 2 / 32
    assert "\\*: differs from a, p below 5 % after Holm's correction" in summary_markdown(summary)
    assert "5 samples" in summary_markdown(summary)


def test_invalid_predictions_are_an_error():
    good = _table("a", 1, [0, 1], [0, 1])
    with pytest.raises(RunError, match="no predictions of any target"):
        summarise(good.slice(0, 0), [MAE], reference="a", seed=0)
    with pytest.raises(RunError, match="no predictions of arousal"):
        summarise(good, [MAE], reference="a", seed=0, target="arousal")
    with pytest.raises(RunError, match="reference arm 'z'"):
        summarise(good, [MAE], reference="z", seed=0)
    with pytest.raises(RunError, match=r"1 rows of arm 'a' \(downscale 1\) have no finite truth"):
        summarise(_table("a", 1, [0, np.nan], [0, 1]), [MAE], reference="a", seed=0)
    with pytest.raises(RunError, match="no finite prediction") as caught:
        summarise(_table("a", 1, [0, 1], [np.nan, 1]), [MAE], reference="a", seed=0)
    assert "diverged" in caught.value.do
    probabilities = [[0.2, 0.3, 0.5], [np.nan] * 3]  # their largest one is the first
    with pytest.raises(RunError, match=r"1 rows of arm 'a' \(blur 1\) have no finite probability"):
        summarise(classes("a", 1, [2, 0], [2, 0], probabilities=probabilities), CLASSIFICATION, reference="a", seed=0)
    unfound = _table("a", 1, [0, 1], [np.nan, 1], found=[False, True])
    assert summarise(unfound, [MAE], reference="a", seed=0).estimates[0].value == 0.0


def test_errors_of_invalid_summaries_have_a_remedy(tmp_path):
    path = tmp_path / "summary.json"
    with pytest.raises(RunError, match="no summary yet"):
        read_summary(path)
    path.write_text('{"target": 3}')
    with pytest.raises(RunError, match="target: ") as caught:
        read_summary(path)
    assert "blear evaluate" in caught.value.do


def test_numbers_keep_three_decimals_or_four_digits():
    given = (0.12345, -0.5, -0.0002, 27.4567, 1234.6, None)
    assert [format_number(x) for x in given] == ["0.123", "-0.500", "0.000", "27.46", "1235", "undefined"]


def test_columns_are_ascending_although_the_first_arm_has_only_some_levels():
    tables = [_table(arm, level, [0.0, 1.0], [0.0, 1.0]) for arm, level in (("experts", 6), ("one", 1), ("one", 6))]
    summary = summarise(pa.concat_tables(tables), [MAE], reference="experts", seed=0, resamples=20)
    assert summary.severities() == {"downscale": [1.0, 6.0]}
    assert "| experts | - | 0.000 |" in summary_markdown(summary)


def test_bars_in_names_do_not_divide_cells():
    table = pa.concat_tables([_table(arm, 1, [0, 1, 2, 3], [0, 1, 2, 4]) for arm in ("a|b", "c")])
    text = comparison_markdown(summarise(table, [MAE], reference="a|b", seed=0, resamples=20))
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    bars = [{line.replace("\\|", "").count("|") for line in lines} for lines in tables]
    assert bars == [{3}, {7}, {4}]
