"""Search on real Ray: trials, baselines, the best one's job to the bit, a population that copies weights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file

from blear.search.results import read_results

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

JOB = """#!/usr/bin/env -S blear run
name: tiny
data:
  faces:
    use: faces/procedural
    size: 32
    color: luma
    targets: [emotion]
    subjects: {train: 6, dev: 3, test: 3}
    per_subject: 8
stages:
  before:
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.0625}
    head: {use: fer/emotion}
    optimizer: {use: sgd, lr: 0.01}
    batch_size: 16
    steps: 3
  joint:
    data: faces
    degrade: [{use: scale_mix, factors: {1: 1, 2: 1, 3: 1}}]
    backbone: {use: vlqr/cnn5x5, width: 0.0625, start_from: {stage: before}}
    head: {use: fer/emotion}
    optimizer: {use: sgd, lr: 0.01}
    batch_size: 16
    steps: 12
evaluate:
  split: test
  sweep: {use: downscale, over: {factor: [1, 2, 3]}}
  resamples: 50
  arms: {joint: {stage: joint}}
search:
  space:
    stages.joint.degrade.0.factors: {simplex: [1, 2, 3]}
  stage: joint
  split: dev
  trials: 3
  concurrent: 2
"""


@pytest.fixture
def job(tmp_path: Path):
    """job(section={...}) -> a job file whose search has these entries besides."""

    def write(**search: object) -> Path:
        yaml = YAML()
        loaded = yaml.load(JOB)
        loaded["search"] |= search
        path = tmp_path / "job.yaml"
        with path.open("w") as file:
            yaml.dump(loaded, file)
        return path

    return write


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_a_search_from_its_job_to_the_best_ones_job(job, blear, storage: Path) -> None:
    lr = {"stages.joint.optimizer.lr": {"choice": [0.01, -1.0]}}  # the second is refused by the job
    space = {"stages.joint.degrade.0.factors": {"simplex": [1, 2, 3]}, **lr}
    uniform = {"uniform": {"stages.joint.degrade.0.factors": {1: 1, 2: 1, 3: 1}}}
    path = job(
        space=space, algorithm="random", trials=5, baselines=uniform, objective=[{"use": "mean"}, {"use": "worst"}]
    )
    done = blear("run", path, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    run = storage / "runs" / "tiny"
    results = read_results(run / "search.json")
    assert len(results.trials) == 5
    failed = [trial for trial in results.trials if trial.error]
    assert failed  # kept with its reason
    assert all("optimizer.lr" in (trial.error or "") or "greater than 0" in (trial.error or "") for trial in failed)
    good = [trial for trial in results.trials if not trial.error]
    assert len(good) == 5 - len(failed) > 0
    best = results.trial(results.best)
    assert best is not None
    assert best.objectives["mean"] == max(trial.objectives["mean"] for trial in good)
    assert best.objectives["mean"] == pytest.approx(np.mean([value for _, _, value in best.curve]))
    # the stage that no value changes was trained once, and taken by all
    shared = weights(run / "stages" / "before")
    assert all(same(shared, weights(run / "trials" / trial.name / "stages" / "before")) for trial in good)
    # the test split was reported on, and only by the best trial and the baseline
    assert "| uniform |" in done.stdout + done.stderr
    assert "| best |" in done.stdout + done.stderr
    assert json.loads((run / "run.json").read_text())["split"] == "test"
    report = (run / "report.html").read_text()
    assert "5 trials were asked for" in report
    assert failed[0].name in report
    # the best trial's job gives its weights again
    assert os.access(run / "best.yaml", os.X_OK)
    again = blear("run", run / "best.yaml", timeout=600)
    assert again.returncode == 0, again.stderr[-3000:]
    ours = weights(storage / "runs" / "tiny-best" / "stages" / "joint")
    assert same(ours, weights(run / "trials" / best.name / "stages" / "joint"))
    # the same command again finds everything done
    stamp = (run / "trials" / best.name / "stages" / "joint" / "stage.json").stat().st_mtime_ns
    assert blear("run", path, timeout=600).returncode == 0
    assert (run / "trials" / best.name / "stages" / "joint" / "stage.json").stat().st_mtime_ns == stamp


def test_a_population_copies_weights_and_its_best_is_a_schedule(job, blear, storage: Path) -> None:
    path = job(algorithm="pbt", report_every=3, trials=4, concurrent=4, cpus=0.5)
    done = blear("run", path, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    run = storage / "runs" / "tiny"
    lineages = {
        trial.name: json.loads((run / "trials" / trial.name / "lineage.json").read_text())
        for trial in read_results(run / "search.json").trials
    }
    changed = {name: lineage for name, lineage in lineages.items() if len(lineage) > 1}
    assert changed, lineages
    # each trial drew a first mixture of its own; who copies another one takes over its past, and its own is gone
    assert len({json.dumps(lineage[0]) for lineage in lineages.values()}) < len(lineages)
    # trained from the start on the schedule of its lineage, the best one gives the same weights: the copy was exact
    again = blear("run", run / "best.yaml", timeout=600)
    assert again.returncode == 0, again.stderr[-3000:]
    results = read_results(run / "search.json")
    ours = weights(storage / "runs" / "tiny-best" / "stages" / "joint")
    assert same(ours, weights(run / "trials" / str(results.best) / "stages" / "joint"))


def test_trials_that_fall_behind_are_ended_and_the_best_one_is_whole(job, blear, storage: Path) -> None:
    twice = {label: {"stages.joint.degrade.0.factors": {1: 1, 2: 1}} for label in ("a b", "a-b")}
    path = job(algorithm="random", scheduler="asha", report_every=3, trials=4, baselines=twice)
    done = blear("run", path, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    run = storage / "runs" / "tiny"
    results = read_results(run / "search.json")
    steps = {trial.name: trial.steps for trial in results.trials}
    assert set(steps.values()) <= {3, 6, 9, 12}
    assert steps[str(results.best)] == 12
    assert weights(run / "trials" / str(results.best) / "stages" / "joint")
    assert sorted(folder.name for folder in (run / "baselines").iterdir()) == ["1-a-b", "2-a-b"]


def test_what_a_job_gets_wrong_is_said_before_ray_starts(job, blear) -> None:
    wrong = job(stage="jiont", split="test", space={"stages.joint.degrade.7.factors": {"simplex": [1, 2, 3]}})
    done = blear("check", wrong)
    assert done.returncode == 2
    for told in ("there is no stage 'jiont'", "must choose on another split", "leads nowhere in the job"):
        assert told in done.stderr
