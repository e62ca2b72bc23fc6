"""Search with Ray: trials, baselines, reproduction of the best trial to the bit, population-based training."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from blear.search import budget
from blear.search.results import read_results
from search_job import write_search

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shards that the searches share."""
    return tmp_path_factory.mktemp("shards")


@pytest.fixture
def search(ray_here: None, blear, storage: Path, shards: Path):
    """Runs a job with a search in this process: search("job.yaml") -> CompletedProcess."""
    storage.mkdir()
    (storage / "shards").symlink_to(shards)
    yield functools.partial(blear, "run")
    with warnings.catch_warnings():  # Tune leaves result.json open for a trial that was stopped before its first report
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def job(tmp_path: Path):
    """job(key=value, ...) -> path of a job whose search section has these additional keys."""
    return functools.partial(write_search, tmp_path)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


class Renamed:
    """Records the names of files that are renamed into a folder (inotify)."""

    MOVED_TO = 0x80

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        libc = ctypes.CDLL(None, use_errno=True)
        self._queue = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._queue, str(folder).encode(), self.MOVED_TO) > 0

    def __enter__(self) -> Renamed:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._queue)

    def names(self) -> list[str]:
        """The names since the last call."""
        found, event = [], struct.Struct("iIII")
        with contextlib.suppress(BlockingIOError):
            while True:
                events = os.read(self._queue, 1 << 16)
                while events:
                    length = event.unpack_from(events)[3]
                    found.append(events[event.size : event.size + length].rstrip(b"\0").decode())
                    events = events[event.size + length :]
        return found


def test_a_search_runs_and_its_best_job_reproduces_the_best_trial(job, ray_here, blear, storage: Path) -> None:
    lr = {"stages.joint.optimizer.lr": {"choice": [0.01, -1.0]}}  # the job refuses the second value
    space = {"stages.joint.degrade.0.factors": {"simplex": [1, 2, 3]}, **lr}
    uniform = {"uniform": {"stages.joint.degrade.0.factors": {1: 1, 2: 1, 3: 1}}}
    path = job(space=space, algorithm="tpe", trials=5, baselines=uniform, objective=[{"use": "mean"}, {"use": "worst"}])
    assert blear("prepare", path).returncode == 0
    (prepared,) = (storage / "shards").glob("faces-procedural-*")
    with Renamed(prepared / "cache") as renamed:
        done = blear("run", path)
        decoded = [name for name in renamed.names() if ".d" in name]
    assert done.returncode == 0, done.stderr[-3000:]
    run = storage / "runs" / "tiny"
    results = read_results(run / "search.json")
    assert len(results.trials) == 5
    # trials, baselines and the evaluation share the decoded shards: train, dev and test, once each
    assert len(decoded) == len(set(decoded)) == 3, decoded
    failed = [trial for trial in results.trials if trial.error]
    assert failed  # kept, with the error
    assert {trial.name for trial in results.trials} == {folder.name for folder in (run / "trials").iterdir()}
    assert all("optimizer.lr" in (trial.error or "") or "greater than 0" in (trial.error or "") for trial in failed)
    good = [trial for trial in results.trials if not trial.error]
    assert len(good) == 5 - len(failed) > 0
    best = results.trial(results.best)
    assert best is not None
    assert best.objectives["mean"] == max(trial.objectives["mean"] for trial in good)
    assert best.objectives["mean"] == pytest.approx(np.mean([value for _, _, value in best.curve]))
    # the stage that no value changes was trained once and copied to all trials
    shared = (run / "stages" / "before" / "log.jsonl").read_text()  # its times identify the run
    assert all((run / "trials" / t.name / "stages" / "before" / "log.jsonl").read_text() == shared for t in good)
    assert (run / "baselines" / "1-uniform" / "stages" / "before" / "log.jsonl").read_text() == shared
    # the terminal shows finished trials, the best so far and the time left; stdout holds the report's path only
    assert done.stdout == f"{run / 'report.html'}\n"
    lines = re.findall(
        r"search: (\d)/5, \d+ s  (best mean -?\d\.\d{4} \((\w+)\)|no result yet)(, about .* left)?\n", done.stderr
    )
    counts = [int(count) for count, *_ in lines]  # a line of the time left repeats a count
    assert counts == sorted(counts), done.stderr
    assert set(counts) - {0} == {1, 2, 3, 4, 5}, done.stderr
    assert lines[-1][2] == results.best
    assert [bool(left) for *_, left in lines][-2:] == [True, False]
    assert "Tune" not in done.stderr
    assert "Traceback" not in done.stderr
    # only the best trial and the baseline were evaluated on the test split
    assert "| uniform |" in done.stdout + done.stderr
    assert "| best |" in done.stdout + done.stderr
    assert json.loads((run / "run.json").read_text())["split"] == "test"
    report = (run / "report.html").read_text()
    assert "5 trials were requested (tpe), 5 were run" in report
    assert re.search(rf"{len(good)} were completed,\s+{len(failed)} failed", report)
    assert failed[0].name in report
    learning = ("Training loss of the best trial: from", "curve of joint-best", "curve of joint-1-uniform")
    for caption in learning:
        assert report.count(caption) == 1
    assert "Mixtures of stages.joint.degrade.0.factors" in report
    assert "Parallel coordinates of" in report
    evaluated = blear("evaluate", run)  # the root has the stages of the arms, not the searched stage itself
    assert evaluated.returncode == 0, evaluated.stderr[-3000:]
    # the best trial's job reproduces its weights
    assert os.access(run / "best.yaml", os.X_OK)
    again = blear("run", run / "best.yaml")
    assert again.returncode == 0, again.stderr[-3000:]
    ours = weights(storage / "runs" / "tiny-best" / "stages" / "joint")
    assert same(ours, weights(run / "trials" / best.name / "stages" / "joint"))
    # the same command again does no work
    stamp = (run / "trials" / best.name / "stages" / "joint" / "stage.json").stat().st_mtime_ns
    assert blear("run", path).returncode == 0
    assert (run / "trials" / best.name / "stages" / "joint" / "stage.json").stat().st_mtime_ns == stamp


def test_population_based_training_copies_weights_and_writes_a_schedule(job, search, storage: Path) -> None:
    path = job(algorithm="pbt", report_every=3, trials=2)
    done = search(path)
    assert done.returncode == 0, done.stderr[-3000:]
    run = storage / "runs" / "tiny"
    lineages = {
        trial.name: json.loads((run / "trials" / trial.name / "lineage.json").read_text())
        for trial in read_results(run / "search.json").trials
    }
    changed = {name: lineage for name, lineage in lineages.items() if len(lineage) > 1}
    assert changed, lineages
    # each trial drew its own first mixture; a trial that copies another one gets its history instead
    assert len({json.dumps(lineage[0]) for lineage in lineages.values()}) < len(lineages)
    # trained from the start on the schedule of its lineage, the best one gives the same weights: the copy was exact
    again = search(run / "best.yaml")
    assert again.returncode == 0, again.stderr[-3000:]
    results = read_results(run / "search.json")
    ours = weights(storage / "runs" / "tiny-best" / "stages" / "joint")
    assert same(ours, weights(run / "trials" / str(results.best) / "stages" / "joint"))


def test_asha_stops_bad_trials_and_the_best_trial_is_complete(job, search, storage: Path) -> None:
    twice = {label: {"stages.joint.degrade.0.factors": {1: 1, 2: 1}} for label in ("a b", "a-b")}
    path = job(algorithm="random", scheduler="asha", report_every=3, trials=4, concurrent=1, baselines=twice)
    done = search(path)
    assert done.returncode == 0, done.stderr[-3000:]
    run = storage / "runs" / "tiny"
    results = read_results(run / "search.json")
    steps = {trial.name: trial.steps for trial in results.trials}
    assert set(steps.values()) <= {3, 6, 9, 12}
    assert steps[str(results.best)] == 12
    assert weights(run / "trials" / str(results.best) / "stages" / "joint")
    assert sorted(folder.name for folder in (run / "baselines").iterdir()) == ["1-a-b", "2-a-b"]


def test_hyperband_halves_each_bracket_and_continues_paused_trials(job, search, storage: Path) -> None:
    """Of four trials two stop at the first evaluation and one at the second; of three, one stops at the second."""
    path = job(algorithm="random", scheduler="hyperband", report_every=3, trials=7, concurrent=None)
    done = search(path)
    assert done.returncode == 0, done.stderr[-3000:]
    run = storage / "runs" / "tiny"
    results = read_results(run / "search.json")
    assert "7 were run" in (report := (run / "report.html").read_text())
    assert "3 were completed, 4 were stopped early" in report
    assert sorted(trial.steps for trial in results.trials) == [3, 3, 6, 6, 12, 12, 12]
    for trial in results.trials:
        assert trial.whole == (trial.steps == 12)
        assert [step for step, _ in trial.looks] == list(range(3, trial.steps + 1, 3))  # no trial restarted
    first, second = results.trials[:4], results.trials[4:]
    for bracket, at in ((first, 0), (second, 1)):  # the trials that continued were better at the deciding evaluation
        ended = [trial.looks[at][1] for trial in bracket if len(trial.looks) == at + 1]
        assert max(ended) <= min(trial.looks[at][1] for trial in bracket if len(trial.looks) > at + 1)


def test_a_search_ends_when_its_hours_are_used_up(job, search, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget's clock is an hour ahead as soon as one trial has a result: the test does not depend on speed."""
    results_of_tune = functools.partial((storage / "runs" / "tiny").glob, "tune/*/result.json")

    def monotonic() -> float:
        return time.monotonic() + 3600 * any(path.stat().st_size for path in results_of_tune())

    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=monotonic))
    path = job(algorithm="random", trials=1000, hours=1)
    done = search(path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "search: its hours are used up; all trials stop" in done.stderr
    results = read_results(storage / "runs" / "tiny" / "search.json")
    assert 0 < len(results.trials) < 1000, len(results.trials)
    assert results.trial(results.best)
    again = search(path)  # the used budget stays used
    assert again.returncode == 0, again.stderr[-3000:]
    began, before = (
        [trial for trial in one.trials if trial.steps]
        for one in (read_results(storage / "runs" / "tiny" / "search.json"), results)
    )
    assert began == before  # a trial that was just being created may have its values in the second file only


def test_an_interrupted_search_continues(job, search, storage: Path) -> None:
    path = job(algorithm="random", trials=4, concurrent=1)
    command = [str(Path(sys.executable).with_name("blear")), "run", str(path)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    run = storage / "runs" / "tiny"
    first = subprocess.Popen(command, start_new_session=True, env=environment, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 400
    while len(logs := list(run.glob("trials/*/stages/joint/stage.json"))) < 2:
        assert first.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    stamps = {log: log.stat().st_mtime_ns for log in logs}
    os.killpg(first.pid, signal.SIGINT)  # as from a terminal
    stderr = first.communicate(timeout=300)[1]
    assert first.returncode == 130, stderr
    assert "blear: interrupted; run the same command again" in stderr
    # a worker process may print a traceback: SIGTERM ends it at any place, and its lines may come in two batches
    own = re.sub(r"(?s)Traceback \(most(?:(?!Traceback).)*?in sigterm_handler\n.*?SystemExit: 1\n", "", stderr)
    assert not re.search(r"^(?!.*\(\w+ pid=\d+\)).*Traceback", own, re.MULTILINE), stderr
    assert not (run / "search.json").exists()
    second = search(path)
    assert second.returncode == 0, second.stderr[-3000:]
    assert "search: continues" in second.stderr
    results = read_results(run / "search.json")
    assert [trial.whole for trial in results.trials] == [True] * 4
    assert {log: log.stat().st_mtime_ns for log in stamps} == stamps
    assert len(list((run / "trials").iterdir())) == 4


def test_mistakes_in_a_job_are_reported_before_ray_starts(job, blear) -> None:
    several = blear("check", job(scheduler="asha", report_every=3, gpus=1), "--set", "cluster.workers=2")
    assert several.returncode == 2
    for message in ("a scheduler needs trials with one worker", "several workers of a trial each reserve a GPU"):
        assert message in several.stderr
    wrong = job(stage="jiont", split="test", space={"stages.joint.degrade.7.factors": {"simplex": [1, 2, 3]}})
    done = blear("check", wrong)
    assert done.returncode == 2
    for message in ("there is no stage 'jiont'", "must choose on another split", "does not exist in the job"):
        assert message in done.stderr
