"""Pooling of rows to decisions: numbers by hand, the mean of logits, clips without a face."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from evaluated import rows
from pydantic import ValidationError

from blear.contracts import Categories, Values
from blear.errors import RunError
from blear.evaluate.markdown import summary_markdown
from blear.evaluate.pool import pool_predictions
from blear.evaluate.predictions import SCHEMA, class_names, class_priors, read_predictions, write_predictions
from blear.evaluate.summarise import summarise
from blear.evaluate.summary import read_summary
from blear.job.schema import Evaluate, Pool
from blear.metrics import CLASSIFICATION

CLASSES = ("sad", "happy", "angry")


def table(probabilities_NK, truth, *, arm="a", severity=1.0, **columns) -> pa.Table:
    """One row for each row of probabilities."""
    given = torch.as_tensor(np.asarray(probabilities_NK, dtype=np.float64))[:, None]
    count = len(given)
    return rows(
        **{
            "arm": arm,
            "stage": arm,
            "condition": "corruptions/downscale",
            "severity": severity,
            "target": "emotion",
            "samples": [f"s{i}" for i in range(count)],
            "truth_B": np.asarray(truth),
            "decoded": Categories(CLASSES, given),
        }
        | columns
    )


FRAMES = table(
    [[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.75, 0.125, 0.125], [0.1, 0.1, 0.8]],
    [1, 1, 0, 0],
    videos=["v", "v", "w", "w"],
    subjects=["p", "p", "p", "q"],
    times=[0.5, 1.0, None, 2.0],
    face_px=[10, 20, None, 30],
    found=[True, True, True, False],
)


def test_sums_of_probabilities_by_hand() -> None:
    """v: (0.625, 1.0, 0.375) / 2; w: its one row with a face."""
    found = pool_predictions(FRAMES, "video", "sum_probabilities")
    assert found["sample"].to_pylist() == found["video"].to_pylist() == ["v", "w"]
    assert np.allclose(found["probabilities"].to_pylist(), [[0.3125, 0.5, 0.1875], [0.75, 0.125, 0.125]], atol=1e-7)
    assert found["prediction"].to_pylist() == [1.0, 0.0]
    assert found["truth"].to_pylist() == [1.0, 0.0]
    assert found["found"].to_pylist() == [True, True]
    assert found["subject"].to_pylist() == ["p", ""]
    assert found["time"].to_pylist() == [0.5, None]
    assert found["face_px"].to_pylist() == [15.0, None]
    assert found["kbps"].to_pylist() == [None, None]
    assert found.schema.equals(SCHEMA.append(pa.field("rows", pa.int64())))
    assert found["rows"].to_pylist() == [2, 2]
    assert class_names(found) == CLASSES


def test_mean_logits_by_hand() -> None:
    """v: geometric means sqrt(1/16), sqrt(3/16), sqrt(1/32), divided by their sum."""
    means = np.sqrt([0.5 * 0.125, 0.25 * 0.75, 0.25 * 0.125])
    found = pool_predictions(FRAMES, "video", "mean_logits")
    assert np.allclose(found["probabilities"].to_pylist()[0], means / means.sum(), atol=1e-7)
    assert found["prediction"].to_pylist() == [1.0, 0.0]


def test_mean_logits_are_the_mean_of_the_networks_logits() -> None:
    """5 clips with 1 to 5 windows each; a constant offset of the logits has no effect."""
    rng = np.random.default_rng(3)
    clip_N = np.repeat(np.arange(5), np.arange(1, 6))
    logits_NK = rng.normal(0, 4, (15, 3)) + rng.normal(0, 50, (15, 1))
    probabilities_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    probabilities_NK /= probabilities_NK.sum(axis=1, keepdims=True)
    found = pool_predictions(table(probabilities_NK, clip_N % 3, samples=[f"clip{n}" for n in clip_N]), "sample")
    means_GK = np.stack([logits_NK[clip_N == clip].mean(axis=0) for clip in range(5)])
    expected = torch.tensor(means_GK).softmax(-1).numpy()
    assert np.allclose(found["probabilities"].to_pylist(), expected, atol=1e-5)
    assert found["prediction"].to_pylist() == means_GK.argmax(axis=1).tolist()
    assert found["sample"].to_pylist() == [f"clip{clip}" for clip in range(5)]


def test_a_probability_of_zero_stays_finite() -> None:
    """Class 0 has (1, 0), class 1 (0, 1): equal, and class 2 (0, 0) far below both."""
    found = pool_predictions(table([[1, 0, 0], [0, 1, 0]], [0, 0], samples=["c", "c"]), "sample")
    assert np.allclose(found["probabilities"].to_pylist()[0], [0.5, 0.5, 0.0], atol=1e-7)


def test_frames_of_a_clip_pool_too_and_arms_and_levels_stay_apart(tmp_path) -> None:
    """A clip with a prediction for each of T frames has T rows of one sample."""
    per_frame = torch.tensor([[[0.6, 0.4, 0.0], [0.2, 0.8, 0.0]], [[0.0, 0.5, 0.5], [0.0, 0.1, 0.9]]])
    parts = [
        table(np.zeros((2, 3)), [0, 2], arm=arm, severity=severity, decoded=Categories(CLASSES, per_frame))
        for arm in ("b", "a")
        for severity in (4.0, 2.0)
    ]
    write_predictions(tmp_path / "p.parquet", parts)
    found = pool_predictions(read_predictions(tmp_path / "p.parquet"), "sample", "sum_probabilities")
    keys = list(zip(found["arm"].to_pylist(), found["severity"].to_pylist(), found["sample"].to_pylist(), strict=True))
    assert keys == [(arm, level, sample) for arm in "ba" for level in (4.0, 2.0) for sample in ("s0", "s1")]
    assert np.allclose(found["probabilities"].to_pylist()[:2], [[0.4, 0.6, 0.0], [0.0, 0.3, 0.7]], atol=1e-6)


def test_values_are_averaged_with_their_truth() -> None:
    decoded = Values(torch.tensor([[0.25], [0.75], [9.0]], dtype=torch.float64))
    given = table(np.zeros((3, 3)), [0.0, 1.0, 0.5], decoded=decoded, videos=["v", "v", "w"], found=[True, True, False])
    found = pool_predictions(given, "video")
    assert found["prediction"].to_pylist() == [0.5, None]
    assert found["truth"].to_pylist() == [0.5, 0.5]
    assert found["probabilities"].to_pylist() == [None, None]


MISSED = table(
    [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.9, 0.1, 0.0], [0.3, 0.3, 0.4]],
    [0, 0, 2, 2, 1],
    videos=["v", "v", "w", "x", "y"],
    found=[True, True, True, False, True],
)


def test_missed_clips_are_excluded_or_counted_as_wrong() -> None:
    """v: logits say sad? (0.6 * 0.2, 0.3 * 0.7): happy, wrong; w right; y wrong; x has no face: 1 of 3, 1 of 4."""
    summary = summarise(MISSED, CLASSIFICATION, reference="a", seed=0, resamples=20, pool=Pool(by="video"))
    by_name = {e.metric: e for e in summary.estimates}
    accuracy = by_name["accuracy"]
    assert (accuracy.n, accuracy.missed, accuracy.clusters) == (3, 1, 3)
    assert (accuracy.value, accuracy.with_missed) == (1 / 3, 1 / 4)
    # recalls: sad 0 of 1, happy 0 of 1, angry 1 of 1, and 1 of 2 with the missed clip
    assert (by_name["balanced_accuracy"].value, by_name["balanced_accuracy"].with_missed) == (1 / 3, 1 / 6)
    text = summary_markdown(summary)
    assert (
        "| Accuracy, corruptions/downscale, missed faces counted as wrong | 1 |\n| --- | ---: |\n| a | 0.250 |" in text
    )
    assert "One decision for each video: mean logits of its rows." in text
    assert "1 of 4 decisions are excluded: no face was found." in text


def test_bit_rates_are_weighted_by_duration() -> None:
    """Clips of a second: v has three (600 kbit), w one (1,000 kbit), x two without a face (100 kbit)."""
    rates = [100, 200, 300, 1000, 40, 60]
    clips = {"videos": ["v", "v", "v", "w", "x", "x"], "found": [True] * 4 + [False] * 2}
    levels = [
        table(np.eye(3)[[0, 1, 0, 2, 2, 2]], [0, 0, 0, 2, 2, 2], severity=level, kbps=np.array(rates) / level, **clips)
        for level in (1.0, 2.0)
    ]
    pooled = pool_predictions(levels[0], "video")
    assert pooled["kbps"].to_pylist() == [200.0, 1000.0, 50.0]
    assert pooled["rows"].to_pylist() == [3, 1, 2]
    summary = summarise(
        pa.concat_tables(levels), CLASSIFICATION[:1], reference="a", seed=0, resamples=20, pool=Pool(by="video")
    )
    expected = [sum(rates) / 6, sum(rates) / 12]
    assert [estimate.kbps for estimate in summary.estimates] == pytest.approx(expected)
    (curve,) = summary.rates
    assert [point.kbps for point in curve.points] == pytest.approx(expected[::-1])


def with_priors(shares) -> pa.Table:
    """The same table with class priors of the stage."""
    return MISSED.cast(MISSED.schema.with_metadata(table([[1, 0, 0]], [0], priors={"a": shares}).schema.metadata))


def test_missed_clips_can_have_the_class_prior() -> None:
    """x has no face and is angry, the most frequent class where the stage was trained: 1 of 3, 2 of 4."""
    answered = with_priors([0.25, 0.25, 0.5])
    assert class_priors(answered) == {"a": [0.25, 0.25, 0.5]}
    summary = summarise(answered, CLASSIFICATION, reference="a", seed=0, resamples=20, pool=Pool(by="video"))
    by_name = {e.metric: e for e in summary.estimates}
    assert (by_name["accuracy"].value, by_name["accuracy"].with_missed) == (1 / 3, 2 / 4)
    assert (by_name["balanced_accuracy"].value, by_name["balanced_accuracy"].with_missed) == (1 / 3, 1 / 3)
    assert summary.without_face == "prior"
    text = summary_markdown(summary)
    assert "| Accuracy, corruptions/downscale, class prior for missed faces | 1 |" in text
    assert (
        summarise(with_priors([0.5, 0.25, 0.25]), CLASSIFICATION, reference="a", seed=0, resamples=20)
        .estimates[0]
        .with_missed
        == 0.4
    )


def test_without_a_pool_each_row_is_a_decision() -> None:
    summary = summarise(MISSED, CLASSIFICATION[:1], reference="a", seed=0, resamples=20)
    (estimate,) = summary.estimates
    assert (estimate.n, estimate.missed, estimate.value, estimate.with_missed) == (4, 1, 0.5, 0.4)
    assert summary.pool is None
    full = summarise(MISSED.filter(MISSED["found"]), CLASSIFICATION[:1], reference="a", seed=0, resamples=20)
    assert full.estimates[0].with_missed is None
    assert "missed" not in summary_markdown(full)


def test_the_summary_keeps_how_it_pooled(tmp_path) -> None:
    summary = summarise(MISSED, CLASSIFICATION, reference="a", seed=0, resamples=20, pool=Pool(by="video"))
    (tmp_path / "summary.json").write_text(summary.model_dump_json())
    assert read_summary(tmp_path / "summary.json") == summary
    assert summary.pool == Pool(by="video", score="mean_logits")
    assert (summary.cluster, summary.clusters) == ("video", 4)


def test_invalid_pools_are_an_error() -> None:
    with pytest.raises(RunError, match="2 rows have no video name") as caught:
        pool_predictions(table(np.eye(3)[:2], [0, 1]), "video")
    assert "pool by sample" in caught.value.do
    with pytest.raises(RunError, match="rows of video v have more than one true class"):
        pool_predictions(table(np.eye(3)[:2], [0, 1], videos=["v", "v"]), "video")
    with pytest.raises(RunError, match=r"a probability is not finite \(arm a, sample s1\)"):
        pool_predictions(table([[1, 0, 0], [float("nan"), 0, 0]], [0, 0]), "sample")
    nan = table(np.zeros((2, 3)), [0.0, 0.0], decoded=Values(torch.tensor([[float("nan")], [1.0]])), samples=["s", "s"])
    with pytest.raises(RunError, match="no finite prediction"):
        summarise(nan, CLASSIFICATION, reference="a", seed=0, pool=Pool())


def test_the_job_selects_the_pool() -> None:
    job = {"sweep": {"use": "downscale"}, "arms": {"a": {"stage": "s"}}}
    assert Evaluate.model_validate(job).pool is None
    assert Evaluate.model_validate(job | {"pool": {}}).pool == Pool(by="sample", score="mean_logits")
    with pytest.raises(ValidationError, match="sum_probabilities"):
        Evaluate.model_validate(job | {"pool": {"score": "sum"}})


def test_pooled_videos_are_resampled_where_the_job_names_samples() -> None:
    summary = summarise(
        MISSED, CLASSIFICATION, reference="a", seed=0, resamples=20, pool=Pool(by="video"), cluster="sample"
    )
    assert (summary.cluster, summary.clusters) == ("video", 4)
