"""Small slow jobs on a cluster, and their results: losses, samples, history."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray_cluster import BINARIES, wait_for
from ruamel.yaml import YAML

from blear.data.sampling.sampler import Sampler

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS, LONG, BATCH, COUNT = 60, 120, 12, 100

SLOW = '''
"""A slow identity, so that a test can act in the middle of a stage."""

import time
from pathlib import Path

import torch
from pydantic import Field

from blear.contracts import Component

from blear.contracts import Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class SlowParams(Params):
    seconds: float = Field(0.1, ge=0, description="Seconds of each batch.")
    gate: str = Field("", description="A file: without it no batch is slow; a number in it replaces `seconds`.")
    bug: bool = Field(False, description="Fails as a plugin with a bug does, but not in the dry run of two samples.")


class Slow:
    def __init__(self, params, context):
        self.seconds, self.gate, self.bug = params.seconds, params.gate, params.bug

    def draw(self, keys):
        return {"none": torch.zeros(len(keys.samples_B))}

    def apply(self, frames_BTCHW, draws):
        try:
            seconds = float((self.gate and Path(self.gate).read_text()) or self.seconds)
        except FileNotFoundError:
            seconds = 0.0
        if self.bug and len(frames_BTCHW) > 4:
            raise ZeroDivisionError
        time.sleep(seconds)
        return frames_BTCHW

    def levels(self):
        return [{"seconds": 0.0}]


@hookimpl
def register_degradations():
    return [Component("slow", "Changes nothing, slowly", SlowParams, Slow)]
'''


@dataclass
class Run:
    """A `blear run` of a job of one stage."""

    process: subprocess.Popen[bytes]
    output: Path
    stage: Path
    gate: Path

    @property
    def text(self) -> str:
        """The output so far."""
        return self.output.read_text()

    @property
    def step(self) -> int:
        """The last finished step."""
        path = self.stage / "reached"
        return int(path.read_text() or 0) if path.is_file() else 0

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Waits until `condition()` is true; fails the test if the run ends before."""

        def met() -> bool:
            ended = self.process.poll() is not None  # before the condition, which the end may make true
            if condition():
                return True
            if ended:
                pytest.fail(f"the run ended at step {self.step} before {what}:\n{self.text[-6000:]}")
            return False

        wait_for(what, met)

    def wait_for_step(self, step: int) -> None:
        """Waits until `step` steps are done."""
        self.wait_for(f"step {step}", lambda: self.step >= step)

    def end(self, seconds: float = 300) -> int:
        """Lets the steps be fast, and waits for the end; returns the exit code."""
        self.gate.unlink(missing_ok=True)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"the run did not end; it is at step {self.step}:\n{self.text[-6000:]}")

    @property
    def losses(self) -> list[tuple[int, float]]:
        """(step, loss) of every line of the log."""
        lines = map(json.loads, (self.stage / "log.jsonl").read_text().splitlines())
        return [(line["step"], line["loss"]) for line in lines if "loss" in line]

    @property
    def history(self) -> str:
        """The content of history.log."""
        path = self.stage / "history.log"
        return path.read_text() if path.is_file() else ""

    @property
    def worlds(self) -> list[int]:
        """Number of workers of each attempt, in the order of the attempts."""
        attempts = {}
        for line in sorted(self._audit(), key=lambda line: line["time"]):
            attempts.setdefault((line["first"], line["world"]), line["world"])
        return list(attempts.values())

    def samples(self) -> dict[int, list[tuple[int, int]]]:
        """Step -> sorted (epoch, sample) of all workers, in the attempt that led to the final weights."""
        newest: dict[int, list[dict]] = {}
        for line in sorted(self._audit(), key=lambda line: line["time"]):
            lines = newest.setdefault(line["step"], [])
            if any(other["rank"] == line["rank"] or other["world"] != line["world"] for other in lines):
                lines.clear()
            lines.append(line)
        found = {}
        for step, lines in newest.items():
            assert sorted(line["rank"] for line in lines) == list(range(lines[0]["world"])), (step, lines)
            found[step] = sorted(pair for line in lines for pair in zip(line["epochs"], line["samples"], strict=True))
        return found

    def _audit(self) -> Iterator[dict]:
        for path in (self.stage / "samples").glob("*.jsonl"):
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    yield json.loads(line)


def blear(job: Path, changes: Sequence[str], output: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Starts `blear run`."""
    sets = [part for change in changes for part in ("--set", change)]
    command = [str(BINARIES / "blear"), "run", str(job), *sets]
    with output.open("w") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, cwd=REPOSITORY, env=environment)


def write_job(folder: Path, name: str, workers: object, seconds: float) -> Path:
    """Writes a job of one small stage; no dropout, no batch statistics.

    Each step takes `seconds` while the file `gate` exists, which this function creates in the folder.
    """
    (folder / "slow.py").write_text(SLOW)
    (folder / "gate").touch()
    faces = {"use": "faces/procedural", "size": 48, "color": "luma", "targets": ["valence"]}
    stage = {
        "data": "faces",
        "degrade": [{"use": "slow", "seconds": seconds, "gate": str(folder / "gate")}],
        "backbone": {"use": "vlqr/cnn5x5", "width": 0.0625, "dropout": 0.0},
        "head": {"use": "vlqr/valence"},
        "optimizer": {"use": "sgd", "lr": 0.01},
        "steps": STEPS,
        "batch_size": BATCH,
        "log_every": 1,
        "checkpoint_every": 10,
        "audit": True,
    }
    job = {
        "name": name,
        "plugins": ["./slow.py"],
        "data": {"faces": faces | {"subjects": {"train": 4, "dev": 1}, "per_subject": COUNT // 4}},
        "stages": {"one": stage},
        "cluster": {"workers": workers, "failures": 3, "resize_s": 2},
    }
    path = folder / f"{name}.yaml"
    with path.open("w") as file:
        YAML().dump(job, file)
    return path


def storage_of(root: Path, shards: Path) -> dict[str, str]:
    """Runs in `root`, shards and decoded samples shared."""
    return {"BLEAR_STORAGE": str(root), "BLEAR_CACHE": str(shards / "cache")}


@dataclass(frozen=True)
class Reference:
    """The losses of an uninterrupted run in one process, and the folder of its stage."""

    losses: list[float]
    stage: Path

    def check(self, run: Run, steps: int = STEPS) -> None:
        """Checks that a run used each sample once in an epoch, in sampler order, with the reference's losses."""
        order = Sampler([COUNT // 4] * 4, BATCH, 0)
        expected = {}
        for step in range(steps):
            epochs_B, samples_B = order.batch(step)
            expected[step + 1] = sorted(zip(epochs_B.tolist(), samples_B.tolist(), strict=True))
        assert run.samples() == expected
        used = [pair for pairs in expected.values() for pair in pairs]
        assert len(set(used)) == len(used) == steps * BATCH
        assert [step for step, _ in run.losses] == list(range(1, steps + 1))
        assert [loss for _, loss in run.losses] == pytest.approx(self.losses[:steps], rel=1e-3)
