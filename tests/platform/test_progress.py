"""Progress: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys

import pytest

from blear import progress

WORK = """
from blear.progress import track
with track("sort", 4, 1) as bar:
    for _ in range(3):
        bar.advance(1, "loss 0.5")
"""


def test_plain_lines_without_a_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == "sort: 4/4, 0 s  loss 0.5\n"


def test_a_line_at_least_every_ten_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.track("sort", 4) as bar:
        for _ in range(4):
            bar.advance()
    assert capsys.readouterr().err == "sort: 2/4, 18 s\nsort: 4/4, 36 s\n"


def in_a_terminal(code: str) -> str:
    """Runs Python code with a terminal as stderr; returns what it shows."""
    lead, follow = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    subprocess.run([sys.executable, "-c", code], stderr=follow, env=environment, check=True)
    os.close(follow)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: all was read
        while piece := os.read(lead, 100_000):
            shown += piece
    os.close(lead)
    return shown.decode()


def test_a_bar_in_a_terminal() -> None:
    shown = in_a_terminal(WORK)
    assert "━" in shown
    assert "4/4" in shown
    assert "loss 0.5" in shown


def test_file_names_are_printed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich has a markup in square brackets, in which `[/` may be an error, and replaces `:100:` by a picture."""
    written = io.StringIO()
    monkeypatch.setattr(progress.console, "_force_terminal", True)
    monkeypatch.setattr(progress.console, "_file", written)
    monkeypatch.setattr(progress.console, "_width", 120)
    with progress.track("encode [red]", 1) as bar:
        bar.advance(1, "clip[a[/]b].mp4")
        progress.echo("warning: job.yaml:100:5: [bold] [/]")
    for text in ("encode [red]", "clip[a[/]b].mp4", "warning: job.yaml:100:5: [bold] [/]"):
        assert text in written.getvalue()


def test_a_bar_inside_another_one() -> None:
    """As an evaluation during a stage. Before rich 14.1 the second bar is an error."""
    nested = """
from blear.progress import track
with track("stage", 2) as outer:
    with track("evaluate", 3) as inner:
        inner.advance(3)
    outer.advance(2)
"""
    shown = in_a_terminal(nested)
    assert "3/3" in shown
    assert "2/2" in shown
