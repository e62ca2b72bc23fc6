"""`blear submit` against a real Ray head with a token: both kinds of plugins, joined and continued jobs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from submit_project import make_project

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The project's folder, and the folder of its locally installed plugin."""
    return make_project(tmp_path_factory.mktemp("submit"))


@pytest.fixture
def start(project: tuple[Path, Path], ray_head: str, ray_token: dict[str, str]) -> Start:
    """Starts the real `blear submit job.yaml ARGUMENTS` in the project: start("--detach") -> Popen."""

    def call(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        folder, installed = project
        command = [str(Path(sys.executable).with_name("blear")), "submit", "job.yaml", "--address", ray_head]
        keep = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        keep |= ray_token | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"} | environment
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*command, *arguments], cwd=folder, env=keep, **pipes)

    return call


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, the job's log, and the messages of `blear submit` itself."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_submit_join_interrupt_and_continue(start: Start, project: tuple[Path, Path], ray_storage: Path) -> None:
    code, out, err = end(start("--detach"))
    assert code == 0, err
    assert out == ""
    assert "uploads " in err
    assert re.search(r"\d KiB  job\.yaml", err)
    assert "builds a wheel of plugin blear-gentle" in err
    assert "warning: plugin blear-gentle requires packages that the nodes must have: no-such-thing" in err
    assert "tiny-1 on http://127.0.0.1:" in err

    other_code, _, other = end(start("--set", "stages.only.steps=5"))
    assert other_code == 2
    assert "tiny-1 still runs with another command" in other
    follower = start()
    for line in follower.stderr or ():
        if "tiny-1 already runs" in line:
            break
    follower.send_signal(signal.SIGINT)
    code, _, err = end(follower)
    assert code == 130, err
    assert "detached; tiny-1 goes on" in err
    assert "ray job stop tiny-1 --address http://127.0.0.1:" in err

    joined, messages = start(), ""
    while "tiny-1 already runs on " not in messages:
        line = (joined.stderr or iter(())).readline()
        assert line, messages
        messages += line
    (ray_storage / "go").touch()  # the job's degradations wait for it
    code, out, err = end(joined)
    assert code == 0, out[-3000:] + err
    assert "run folder: " in out  # the log from its beginning
    assert "tiny-1 succeeded" in err
    run = ray_storage / "runs" / "tiny"
    assert (run / "stages" / "only" / "stage.json").is_file()
    used = json.loads((run / "run.json").read_text())["components"]
    assert used["gentle/keep"].startswith("0.1:")
    file = project[0] / "plugins" / "file_plugin.py"
    assert used["file_plugin/keep"].startswith(hashlib.sha256(file.read_bytes()).hexdigest()[:12])

    code, out, err = end(start())
    assert code == 0, out[-3000:] + err
    assert "tiny-2 on " in err
    assert "stage only: done by an earlier run" in out

    code, out, err = end(start("--set", "stages.only.steps=5"))
    assert code == 2, out[-3000:] + err  # the job's own exit code: it was refused there, before any training
    assert re.search(r"stages\.only\.steps: the run has \d+, this job 5", out)
    assert err.splitlines()[-1] == "tiny-3 failed: Job entrypoint command failed with exit code 2"


def test_a_stopped_job(start: Start, ray_head: str, ray_token: dict[str, str], ray_storage: Path) -> None:
    (ray_storage / "go").touch()
    follower = start("--set", "name=long", "--set", "stages.only.steps=100000")
    while "run folder" not in (line := (follower.stdout or iter(())).readline()):
        assert line, end(follower)[2]
    ray = [str(Path(sys.executable).with_name("ray")), "job", "stop", "long-1", "--address", ray_head]
    subprocess.run(ray, check=True, capture_output=True, env=os.environ | ray_token)
    code, _, err = end(follower)
    assert code == 143, err
    assert err.splitlines()[-1] == "long-1 was stopped; the same command continues it"


def test_a_wrong_and_a_missing_token(start: Start, tmp_path: Path) -> None:
    code, _, err = end(start(RAY_AUTH_TOKEN="0" * 64))
    assert code == 2
    assert "blear: http://127.0.0.1:" in err
    assert "the cluster refuses this token" in err
    assert "RAY_AUTH_TOKEN" in err.splitlines()[-1]
    for mode in ("disabled", "token"):
        code, _, err = end(start(RAY_AUTH_MODE=mode, RAY_AUTH_TOKEN="", HOME=str(tmp_path)))
        assert code == 2, mode
        assert "the cluster asks for a token" in err
        assert "Traceback" not in err
