"""Ensembles: weighted sums, grid search with cross-validation, and errors."""

import hashlib
import json
import math

import numpy as np
import pytest
import torch
from evaluated import rows

from blear.contracts import Categories
from blear.errors import RunError
from blear.evaluate.ensemble.fusion import fuse_runs
from blear.evaluate.ensemble.weights import cross_validated_fusion, fuse, search_weights, weight_grid
from blear.evaluate.predictions import read_predictions, write_predictions
from blear.evaluate.summarise import summarise
from blear.evaluate.summary import read_summary
from blear.job.schema import Pool
from blear.metrics import CLASSIFICATION

CLASSES = ("calm", "happy", "sad")
A = [[0.6, 0.4, 0.0], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]]
B = [[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.0, 0.1, 0.9]]
TRUTH = [1, 0, 2, 2]


def table(arm, probabilities, truth=TRUTH, names=None, severity=1.0, classes=CLASSES, **columns):
    names = names or [f"s{n}" for n in range(len(probabilities))]
    decoded = Categories(classes, torch.tensor(probabilities, dtype=torch.float32)[:, None])
    fixed = {"stage": arm, "condition": "downscale", "severity": severity, "target": "emotion"} | columns
    return rows(arm=arm, samples=names, truth_B=np.array(truth), decoded=decoded, **fixed)


def make_run(folder, tables, split="dev", pool=None):
    """Writes the files of an evaluated run."""
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text("name: x\n")
    (folder / "run.json").write_text(json.dumps({"split": split}))
    write_predictions(folder / "predictions.parquet", tables)
    whole = read_predictions(folder / "predictions.parquet")
    arm = whole["arm"][0].as_py()
    summary = summarise(whole, CLASSIFICATION, reference=arm, seed=0, resamples=5, pool=pool)
    (folder / "summary.json").write_text(summary.model_dump_json())
    return str(folder)


@pytest.fixture
def pair(tmp_path):
    return [make_run(tmp_path / "one", [table("A", A)]), make_run(tmp_path / "two", [table("B", B)])]


def fused(out, arm="fused"):
    found = read_predictions(out / "predictions.parquet").to_pandas()
    return found[found["arm"] == arm].set_index("sample")


def test_equal_weights_are_the_mean(pair, tmp_path):
    text = fuse_runs(pair, tmp_path / "out", resamples=20)
    found = fused(tmp_path / "out")
    expected = (np.array(A) + np.array(B)) / 2
    np.testing.assert_allclose(np.stack(found["probabilities"]), expected, atol=1e-6)
    assert found["prediction"].tolist() == [1, 0, 2, 2]
    assert set(found["stage"]) == {"ensemble"}
    accuracy = {
        e.arm: e.value for e in read_summary(tmp_path / "out" / "summary.json").estimates if e.metric == "accuracy"
    }
    assert accuracy == {"A": 0.5, "B": 0.75, "fused": 1.0}
    head, _, first, second, third = text.splitlines()[:5]
    assert head == "| downscale 1 | weight | clips | Accuracy | Balanced accuracy | Macro F1 |"
    assert first.startswith("| A | 0.5 | 4 | 0.500 [")
    assert second.startswith("| B | 0.5 | 4 | 0.750 [")
    assert third.startswith("| fused |  | 4 | 1.000 [1.000, 1.000] | 1.000")
    assert "On dev; weights: equal." in text


def test_given_weights(pair, tmp_path):
    fuse_runs(pair, tmp_path / "out", weights="3,1", resamples=5)
    expected = (3 * np.array(A) + np.array(B)) / 4
    np.testing.assert_allclose(np.stack(fused(tmp_path / "out")["probabilities"]), expected, atol=1e-6)
    record = json.loads((tmp_path / "out" / "ensemble.json").read_text())
    assert [(m["label"], m["weight"], m["split"]) for m in record["members"]] == [
        ("A", 0.75, "dev"),
        ("B", 0.25, "dev"),
    ]
    for member, name in zip(record["members"], ("one", "two"), strict=True):
        content = (tmp_path / name / "predictions.parquet").read_bytes()
        assert member["predictions_sha256"] == hashlib.sha256(content).hexdigest()
    assert (record["weights"], record["score"], record["folds"]) == ("given", "mean", None)


def test_arms_of_one_run_and_one_arm_of_another(tmp_path):
    both = make_run(tmp_path / "both", [table("A", A), table("B", B)])
    text = fuse_runs([both], tmp_path / "out", resamples=5)
    assert "| A | 0.5 |" in text
    again = make_run(tmp_path / "again", [table("A", B), table("B", A)])
    fuse_runs([f"{both}:A", f"{again}:A"], tmp_path / "out", resamples=5)
    record = json.loads((tmp_path / "out" / "ensemble.json").read_text())
    assert [m["label"] for m in record["members"]] == ["both/A", "again/A"]
    np.testing.assert_allclose(
        np.stack(fused(tmp_path / "out")["probabilities"]), (np.array(A) + np.array(B)) / 2, atol=1e-6
    )


FRAMES_A = [[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.1, 0.9, 0.0], [0.2, 0.8, 0.0]]
FRAMES_B = [[0.2, 0.8, 0.0], [0.0, 0.0, 1.0], [0.4, 0.6, 0.0], [0.1, 0.9, 0.0]]


def test_frames_of_a_clip(tmp_path):
    """Clip x has three frames in A and one in B, clip y has one and three: sums and means differ."""
    a = table("A", FRAMES_A, [0, 0, 0, 1], ["x0", "x1", "x2", "y0"], videos=["x", "x", "x", "y"])
    b = table("B", FRAMES_B, [0, 1, 1, 1], ["x0", "y0", "y1", "y2"], videos=["x", "y", "y", "y"])
    by_video = Pool(by="video", score="sum_probabilities")
    runs = [make_run(tmp_path / "a", [a], pool=by_video), make_run(tmp_path / "b", [b], pool=by_video)]
    fuse_runs(runs, tmp_path / "mean", resamples=5)
    found = fused(tmp_path / "mean")
    np.testing.assert_allclose(found.loc["x", "probabilities"], [0.35, 0.65, 0.0], atol=1e-6)  # (.5 .5 0) and (.2 .8 0)
    np.testing.assert_allclose(found.loc["y", "probabilities"], [11 / 60, 0.65, 1 / 6], atol=1e-6)
    fuse_runs(runs, tmp_path / "sum", score="sum", resamples=5)
    found = fused(tmp_path / "sum")
    np.testing.assert_allclose(found.loc["x", "probabilities"], np.array([1.7, 2.3, 0]) / 4, atol=1e-6)
    np.testing.assert_allclose(found.loc["y", "probabilities"], np.array([0.7, 2.3, 1]) / 4, atol=1e-6)
    with pytest.raises(RunError, match="4 decisions are only in one of it and A: x1"):
        fuse_runs(runs, tmp_path / "sample", by="sample")


def test_a_member_without_a_face_is_ignored_in_that_clip(tmp_path):
    a = make_run(tmp_path / "a", [table("A", A, found=[True, False, True, False])])
    b = make_run(tmp_path / "b", [table("B", B, found=[True, True, True, False])])
    fuse_runs([a, b], tmp_path / "out", weights="3,1", resamples=5)
    found = fused(tmp_path / "out")
    np.testing.assert_allclose(found.loc["s1", "probabilities"], B[1], atol=1e-6)
    assert found["found"].tolist() == [True, True, True, False]
    assert math.isnan(found.loc["s3", "prediction"])
    estimates = read_summary(tmp_path / "out" / "summary.json").estimates
    assert {e.arm: (e.n, e.missed) for e in estimates} == {"A": (2, 2), "B": (3, 1), "fused": (3, 1)}


def test_every_condition_is_fused(tmp_path):
    runs = [
        make_run(tmp_path / arm, [table(arm, values), table(arm, values[::-1], TRUTH[::-1], severity=4.0)])
        for arm, values in (("A", A), ("B", B))
    ]
    text = fuse_runs(runs, tmp_path / "out", resamples=5)
    assert [line for line in text.splitlines() if line.startswith("| downscale")] == [
        f"| downscale {s} | weight | clips | Accuracy | Balanced accuracy | Macro F1 |" for s in (1, 4)
    ]
    found = fused(tmp_path / "out")
    expected = (np.array(A[0]) + np.array(B[0])) / 2
    second = found[found["severity"] == 4.0].loc["s3", "probabilities"]
    np.testing.assert_allclose(second, expected, atol=1e-6)


def test_the_grid():
    assert len(weight_grid(2)) == 11
    assert len(weight_grid(4)) == math.comb(13, 3) == 286
    np.testing.assert_allclose(weight_grid(3).sum(axis=1), 1)
    assert weight_grid(3).min() == 0
    assert len({tuple(row) for row in np.round(weight_grid(3) * 10).astype(int)}) == 66
    assert weight_grid(2)[0].tolist() == [0.5, 0.5]
    assert weight_grid(5)[0].tolist() == [0.2] * 5
    assert sorted(weight_grid(3)[0]) == [0.3, 0.3, 0.4]


def noisy(seed, strength, clips=90, members=3):
    """Probabilities of members; only the last member is informative."""
    random = np.random.default_rng(seed)
    truth = random.integers(3, size=clips)
    scores = random.dirichlet([1, 1, 1], size=(members, clips))
    scores[-1] += strength * np.eye(3)[truth]
    return scores / scores.sum(axis=-1, keepdims=True), truth


def test_search_finds_the_informative_member():
    scores, truth = noisy(1, 0.6)
    weights = search_weights(scores, truth)
    assert weights[-1] >= 0.5
    right = [(np.tensordot(w, scores, axes=1).argmax(axis=1) == truth).mean() for w in weight_grid(3)]
    assert (fuse(scores, weights).argmax(axis=1) == truth).mean() == max(right)


def test_search_prefers_equal_weights():
    same = np.stack([np.eye(3)[[0, 1, 2]]] * 2)
    assert search_weights(same, np.array([0, 1, 2])).tolist() == [0.5, 0.5]


def test_a_clip_in_which_no_weighted_member_has_a_face_is_wrong_in_the_search():
    """The first member has no face; without the second one, no clip has a prediction."""
    scores = np.array([[[0.0, 0.0]] * 4, [[0.1, 0.9]] * 4])
    assert search_weights(scores, np.array([0, 0, 0, 1])).tolist() == [0.5, 0.5]


def test_missed_faces_count_as_wrong_in_every_arm_of_an_ensemble(tmp_path):
    """The members have a class prior, "joint" another one in each run; the fused arm has none."""
    missed = {"found": [True, True, False, False], "stage": "joint"}
    runs = [
        make_run(tmp_path / name, [table(arm, A, priors={"joint": prior}, **missed)])
        for name, arm, prior in (("one", "A", [0, 0, 1]), ("two", "B", [1, 0, 0]))
    ]
    fuse_runs(runs, tmp_path / "out", resamples=5)
    summary = read_summary(tmp_path / "out" / "summary.json")
    assert summary.without_face == "missed"
    assert {e.with_missed for e in summary.estimates if e.metric == "accuracy"} == {0.25}


def test_the_weights_of_a_fold_come_from_the_other_folds():
    scores, truth = noisy(2, 0.5)
    groups = np.arange(90) // 3
    found = cross_validated_fusion(scores, truth, groups, folds=5, seed=7)
    order = np.random.default_rng(7).permutation(30)
    fold_of_group = np.empty(30, int)
    fold_of_group[order] = np.arange(30) % 5
    for fold in range(5):
        inside = fold_of_group[groups] == fold
        assert inside.sum() == 18
        weights = search_weights(scores[:, ~inside], truth[~inside])
        np.testing.assert_allclose(found[inside], fuse(scores[:, inside], weights))
    # the labels of a fold do not reach its own decisions
    changed = truth.copy()
    inside = fold_of_group[groups] == 3
    changed[inside] = (truth[inside] + 1) % 3
    again = cross_validated_fusion(scores, changed, groups, folds=5, seed=7)
    np.testing.assert_allclose(again[inside], found[inside])


def test_pure_noise_gains_nothing_by_cross_validation():
    scores, truth = noisy(3, 0.0, clips=300)
    peeking = (fuse(scores, search_weights(scores, truth)).argmax(axis=1) == truth).mean()
    honest = cross_validated_fusion(scores, truth, np.arange(300), folds=5, seed=0).argmax(axis=1)
    assert (honest == truth).mean() < peeking
    assert (honest == truth).mean() == pytest.approx(1 / 3, abs=0.08)


def searchable(tmp_path, split, seed, strength=0.6):
    scores, truth = noisy(seed, strength)
    subjects = [f"p{n // 3}" for n in range(90)]
    return [
        make_run(tmp_path / f"{split}_{arm}", [table(arm, values.tolist(), truth, subjects=subjects)], split)
        for arm, values in zip("ABC", scores, strict=True)
    ], (scores, truth)


def test_searched_weights_apply_to_the_test_split(tmp_path):
    runs, (scores, truth) = searchable(tmp_path, "dev", 4)
    text = fuse_runs(runs, tmp_path / "dev", weights="search", resamples=20)
    record = json.loads((tmp_path / "dev" / "ensemble.json").read_text())
    weights = [member["weight"] for member in record["members"]]
    assert weights == search_weights(scores, truth).tolist()
    assert (record["folds"], record["reported"]) == (5, "fused (cross-validated)")
    assert "cross-validated in 5 folds" in text
    groups = np.array([f"p{n // 3}" for n in range(90)])
    expected = cross_validated_fusion(scores, truth, groups, 5, 0)
    found = fused(tmp_path / "dev", "fused (cross-validated)")
    np.testing.assert_allclose(np.stack(found.loc[[f"s{n}" for n in range(90)], "probabilities"]), expected, atol=1e-6)
    test_runs, (test_scores, _) = searchable(tmp_path, "test", 5)
    order = [2, 0, 1]  # weights go by the members' names
    fuse_runs([test_runs[i] for i in order], tmp_path / "test", weights=str(tmp_path / "dev"), resamples=5)
    expected = fuse(test_scores, np.array(weights))
    found = fused(tmp_path / "test")
    np.testing.assert_allclose(np.stack(found.loc[[f"s{n}" for n in range(90)], "probabilities"]), expected, atol=1e-6)


def refusal(action, *words):
    with pytest.raises(RunError) as caught:
        action()
    for word in words:
        assert word in str(caught.value)
    assert caught.value.do


def test_a_search_on_the_test_split_is_an_error(tmp_path):
    runs, _ = searchable(tmp_path, "test", 5)
    refusal(
        lambda: fuse_runs(runs, tmp_path / "out", weights="search"),
        "cannot be searched",
        "'test'",
        "as --weights here",
    )
    assert not (tmp_path / "out").exists()


def test_a_search_needs_groups(tmp_path):
    one = make_run(tmp_path / "one", [table("A", A, subjects=["p"] * 4), table("B", B, subjects=["p"] * 4)])
    refusal(lambda: fuse_runs([one], tmp_path / "out", weights="search"), "one group of clips")


def test_invalid_weights_are_an_error(pair, tmp_path):
    def call(weights, **more):
        return lambda: fuse_runs(pair, tmp_path / "out", weights=weights, **more)

    refusal(call("1,2,3"), "3 weights for 2 members", "A, B")
    refusal(call("1,-2"), "must be 0 or more")
    refusal(call("0,0"), "not all 0")
    refusal(call("1,nan"), "must be 0 or more")
    refusal(call("best"), "'best' is neither numbers nor a folder")
    refusal(call(str(tmp_path)), "ensemble.json", "cannot be read")
    fuse_runs(pair, tmp_path / "out", weights="1,2", resamples=5)
    refusal(call(str(tmp_path / "out"), score="sum"), "are for --score mean")
    other = make_run(tmp_path / "other", [table("C", A)])
    refusal(
        lambda: fuse_runs([pair[0], other], tmp_path / "again", weights=str(tmp_path / "out")),
        "its members are A, B, here they are A, C",
    )


def test_incompatible_members_are_an_error(pair, tmp_path):
    def with_other(name, *tables, **more):
        run = make_run(tmp_path / name, tables, **more)
        return lambda: fuse_runs([pair[0], run], tmp_path / "out")

    refusal(
        with_other("names", table("C", B, names=["s0", "s1", "s2", "t3"])), "2 decisions", "s3", "t3", "names, arm C"
    )
    refusal(with_other("severity", table("C", B, severity=2.0)), "8 decisions", "(downscale 1)")
    refusal(with_other("truth", table("C", B, truth=[1, 0, 2, 1])), "1 decisions have another true class", "s3")
    refusal(
        with_other("classes", table("C", B, classes=("happy", "calm", "sad"))), "happy, calm, sad", "calm, happy, sad"
    )
    refusal(with_other("split", table("C", B), split="test"), "evaluated on test", "A on dev")
    refusal(with_other("target", table("C", B, target="mood")), "its target is 'mood'", "'emotion'")
    videos = {"videos": ["v0", "v1", "v2", "v3"]}
    refusal(
        with_other("pool", table("C", B, **videos), pool=Pool(by="video")), "by sample, others by video", "--by video"
    )


def test_missing_runs_and_arms_are_an_error(pair, tmp_path):
    out = tmp_path / "out"
    refusal(lambda: fuse_runs([pair[0], str(tmp_path / "none")], out), "not a run folder", str(tmp_path / "none"))
    refusal(lambda: fuse_runs([pair[0], f"{pair[1]}:C"], out), "no arm 'C'", "its arms: B")
    refusal(lambda: fuse_runs(pair[:1], out), "needs two members")
    refusal(lambda: fuse_runs([pair[0], f"{pair[0]}:A"], out), "given twice")
    taken = make_run(tmp_path / "taken", [table("A", A), table("fused", B)])
    refusal(lambda: fuse_runs([taken], out), "an arm is called 'fused'")
    refusal(lambda: fuse_runs(pair, tmp_path / "one"), "this is a run folder", "--out")
    (tmp_path / "two" / "predictions.parquet").unlink()
    refusal(lambda: fuse_runs(pair, out), "there are no predictions yet")


def test_the_command(blear, pair, tmp_path):
    done = blear("ensemble", *pair, "--out", tmp_path / "out", "--weights", "1,1", "--by", "sample")
    assert done.returncode == 0, done.stderr
    assert "| fused |  | 4 | 1.000" in done.stdout
    done = blear("ensemble", pair[0], "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "needs two members" in done.stderr
    assert "Traceback" not in done.stderr
