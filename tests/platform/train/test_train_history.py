"""The history of a stage: each event is printed once; the last step survives a killed process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blear.train.on_ray.history import LastStepFile, append_history, print_history, read_last_step


def test_new_complete_lines_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append_history(tmp_path, "of an earlier run")
    with print_history(tmp_path):
        append_history(tmp_path, "lost a worker at step 7")
        with (tmp_path / "history.log").open("a") as log:
            log.write("2026-01-01T00:00:00+00:00 half a li")
    assert capsys.readouterr().err == "lost a worker at step 7\n"
    assert len((tmp_path / "history.log").read_text().splitlines()) == 3


def test_a_stage_without_history_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with print_history(tmp_path / "not there"):
        pass
    assert capsys.readouterr().err == ""


def test_the_last_step_survives_a_killed_process(tmp_path: Path) -> None:
    assert read_last_step(tmp_path) == 0
    code = (
        "import os, signal, sys; from pathlib import Path; from blear.train.on_ray.history import LastStepFile\n"
        "at = LastStepFile(Path(sys.argv[1])); at.write(99999); at.write(12345); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert read_last_step(tmp_path) == 12345


def test_the_file_of_the_last_step_keeps_its_size(tmp_path: Path) -> None:
    at = LastStepFile(tmp_path)
    at.write(1)
    size = (tmp_path / "reached").stat().st_size
    at.write(10**12)
    assert (tmp_path / "reached").stat().st_size == size
    assert read_last_step(tmp_path) == 10**12
