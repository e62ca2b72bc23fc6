"""Comparison of several runs: labels, pairing, errors, the command and its files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluated import classes, noisy_predictions

from blear.cli import main
from blear.errors import RunError
from blear.evaluate.compare import compare_runs
from blear.evaluate.predictions import read_predictions, write_predictions
from blear.evaluate.summarise import summarise
from blear.evaluate.summary import Summary, read_summary
from blear.metrics import CLASSIFICATION

RNG = np.random.default_rng(4)
TRUTH = RNG.integers(3, size=240)
SUBJECTS = [f"p{i % 24}" for i in range(240)]


def make(root, arms, *, truth=TRUTH, severities=(1, 2), split="dev", condition="blur", kbps=False, **columns):
    """Writes an evaluated run, with the accuracy of each arm."""
    rng = np.random.default_rng(len(root.name))
    tables = [
        classes(
            arm,
            s,
            truth,
            noisy_predictions(rng, truth, right - 0.05 * s),
            condition=condition,
            kbps=100.0 / s if kbps else None,
            **{"subjects": SUBJECTS} | columns,
        )
        for arm, right in arms.items()
        for s in severities
    ]
    root.mkdir()
    (root / "job.yaml").write_text("name: made-up\n")
    sweeps = [{"condition": condition, "parameter": "sigma", "levels": list(severities), "group": {"codec": "h264"}}]
    (root / "run.json").write_text(json.dumps({"split": split, "sweeps": sweeps}))
    write_predictions(root / "predictions.parquet", tables)
    table = read_predictions(root / "predictions.parquet")
    summary = summarise(table, CLASSIFICATION, reference=next(iter(arms)), seed=0, resamples=20)
    (root / "summary.json").write_text(summary.model_dump_json())
    return str(root)


@pytest.fixture
def runs(tmp_path):
    return [make(tmp_path / "clean", {"model": 0.6}), make(tmp_path / "mixed", {"model": 0.8, "other": 0.7})]


def test_arms_of_several_runs_are_paired(runs):
    found = compare_runs(runs, resamples=200)
    assert found.arms == ["clean/model", "mixed/model", "other"]
    assert found.reference == "clean/model"
    first = next(d for d in found.differences if d.arm == "mixed/model" and d.severity == 1)
    a, b = (found.estimate(arm, "blur", 1).value for arm in ("mixed/model", "clean/model"))
    assert first.value == pytest.approx(a - b)
    assert first.excludes_zero
    assert {(t.arm, t.severity) for t in found.tests} == {
        (a, s) for a in ("mixed/model", "other") for s in (1, 2, None)
    }
    assert next(s for s in found.scalars if s.arm == "clean/model" and s.name == "mce").value == pytest.approx(1)


def test_one_arm_of_each_run_with_another_reference(runs):
    found = compare_runs([f"{runs[0]}:model", f"{runs[1]}:other"], against="other", resamples=20)
    assert (found.arms, found.reference) == (["model", "other"], "other")


def test_bd_numbers_between_runs_whose_conditions_have_a_bit_rate(tmp_path):
    severities = (1, 2, 4, 8)
    runs = [
        make(tmp_path / name, {name: right}, severities=severities, kbps=True)
        for name, right in (("a", 0.9), ("bb", 0.95))
    ]
    found = compare_runs(runs, resamples=20)
    assert {(c.arm, c.codec, len(c.points)) for c in found.rates} == {("a", "h264", 4), ("bb", "h264", 4)}
    assert {b.kind for b in found.bd if b.metric == "accuracy"} == {"rate", "metric"}
    assert not [s for s in found.scalars if s.name == "mean"]  # every condition is a point of a curve


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": "test"}, "its split is 'test', that of clean is 'dev'"),
        ({"truth": (TRUTH + 1) % 3}, "sample s00000 has another truth than in clean"),
        ({"samples": [f"t{i}" for i in range(240)]}, "blur 1 has other samples than in clean"),
        ({"condition": "noise"}, "no condition in common with clean"),
        ({"names": "xyz"}, r"its classes is \('x', 'y', 'z'\)"),
    ],
)
def test_runs_with_different_evaluations_are_an_error(tmp_path, changed, message):
    runs = [make(tmp_path / "clean", {"a": 0.6}), make(tmp_path / "other", {"b": 0.6}, **changed)]
    with pytest.raises(RunError, match=message):
        compare_runs(runs)


def test_invalid_arms_are_an_error(runs):
    with pytest.raises(RunError, match="needs two arms"):
        compare_runs(runs[:1])
    with pytest.raises(RunError, match="given twice"):
        compare_runs([runs[0], f"{runs[0]}:model"])
    with pytest.raises(RunError, match="there is no arm 'best'") as error:
        compare_runs(runs, against="best")
    assert "clean/model, mixed/model, other" in error.value.do


def test_the_command_writes_markdown_and_json(runs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["blear", "compare", *runs, "--out", str(out), "--resamples", "50"])
    main()
    text = capsys.readouterr().out
    assert text == (out / "comparison.md").read_text()
    summary = Summary.model_validate_json((out / "comparison.json").read_bytes())
    assert summary == compare_runs(runs, resamples=50)
    for head in (
        "| Accuracy, blur | 1 | 2 |",
        "| Accuracy minus clean/model, permutation of clusters |",
        "| Robustness |",
    ):
        assert head in text
    row = next(line for line in text.splitlines() if line.startswith("| mixed/model | blur | mean |"))
    assert "< 0.001" in row


def test_a_label_of_two_degradations_is_an_error(runs):
    """The numbers of two degradations would stand in one column as one condition."""
    for root, use in zip(runs, ("corruptions/blur", "kornia/blur"), strict=True):
        info = json.loads((path := Path(root, "run.json")).read_text())
        info["sweeps"][0]["use"] = use
        path.write_text(json.dumps(info))
    with pytest.raises(RunError, match="'blur' sweeps kornia/blur here, corruptions/blur in clean"):
        compare_runs(runs)


def test_every_run_keeps_its_own_substitute_for_missed_faces(tmp_path):
    """The stages of both runs have one name, and priors of opposite classes."""
    missed = {"found": [i >= 60 for i in range(240)], "stage": "joint"}
    priors = {"a": [1.0, 0.0, 0.0], "b": [0.0, 0.0, 1.0]}
    runs = [make(tmp_path / f"of {arm}", {arm: 0.6}, priors={"joint": priors[arm]}, **missed) for arm in "ab"]
    own = {e.arm: e.with_missed for run in runs for e in _first(read_summary(Path(run, "summary.json")))}
    assert own["a"] != own["b"]
    for order in (runs, runs[::-1]):
        found = compare_runs(order, resamples=10)
        assert {e.arm: e.with_missed for e in _first(found)} == own
        assert found.without_face == "prior"
    plain = make(tmp_path / "plain", {"c": 0.6}, **missed)
    with pytest.raises(RunError, match="its without_face is 'missed', that of of a is 'prior'"):
        compare_runs([runs[0], plain])


def _first(summary):
    return [e for e in summary.estimates if (e.metric, e.severity) == ("accuracy", 1)]
