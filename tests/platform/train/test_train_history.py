"""The history of a stage: what is noted is told, once and whole; the step reached survives a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blear.train.on_ray.history import Reached, note, reached, told


def test_only_what_is_noted_meanwhile_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note(tmp_path, "of an earlier run")
    with told(tmp_path):
        note(tmp_path, "lost a worker at step 7")
        with (tmp_path / "history.log").open("a") as log:
            log.write("2026-01-01T00:00:00+00:00 half a li")
    assert capsys.readouterr().err == "lost a worker at step 7\n"
    assert len((tmp_path / "history.log").read_text().splitlines()) == 3


def test_a_stage_without_history_tells_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with told(tmp_path / "not there"):
        pass
    assert capsys.readouterr().err == ""


def test_the_step_reached_survives_a_kill(tmp_path: Path) -> None:
    assert reached(tmp_path) == 0
    code = (
        "import os, signal, sys; from pathlib import Path; from blear.train.on_ray.history import Reached\n"
        "at = Reached(Path(sys.argv[1])); at.set(99999); at.set(12345); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert reached(tmp_path) == 12345


def test_the_file_never_grows(tmp_path: Path) -> None:
    at = Reached(tmp_path)
    at.set(1)
    size = (tmp_path / "reached").stat().st_size
    at.set(10**12)
    assert (tmp_path / "reached").stat().st_size == size
    assert reached(tmp_path) == 10**12
