"""The runs of a storage folder, with their states."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blear.storage.run_lock import LOCK_FILE, describe_holder


@dataclass(frozen=True)
class RunState:
    """The state of one run.

    Attributes:
        name: of the run, and of its folder.
        state: "running", "done" or "stopped".
        note: the holder of the lock of a running run; the unfinished stage and its last logged step.
        started, finished: ISO 8601 in UTC; None: unknown, or not finished.
        report: path of report.html, if there is one.
    """

    name: str
    state: str
    note: str
    started: str | None
    finished: str | None
    report: Path | None


def run_states(runs: Path) -> Iterator[RunState]:
    """Yields the state of each run folder in a folder, ordered by name."""
    for root in sorted(runs.iterdir()) if runs.is_dir() else ():
        if (root / "job.yaml").is_file():
            yield _state(root)


def _state(root: Path) -> RunState:
    info = _read_json(root / "run.json")
    started, finished = info.get("started"), info.get("finished")
    progress = _progress(root)
    if _locked(root / LOCK_FILE):
        state, note = "running", "; ".join(filter(None, (describe_holder(root / LOCK_FILE), progress)))
    elif finished and finished >= (started or ""):
        state, note = "done", ""
    else:
        state, note, finished = "stopped", progress, None
    report = root / "report.html"
    return RunState(root.name, state, note, started, finished, report if report.is_file() else None)


def _locked(path: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock file, or a file system without locks
        return False
    return False


def _progress(root: Path) -> str:
    """The stage that is not finished, and its last logged step; empty without one."""
    logs = [path for path in root.glob("stages/*/log.jsonl") if not path.with_name("stage.json").is_file()]
    if not logs:
        return ""
    newest = max(logs, key=lambda path: path.stat().st_mtime)
    lines = newest.read_text().splitlines()
    step = next((entry["step"] for entry in map(_parse, reversed(lines)) if "step" in entry), 0)
    return f"stage {newest.parent.name}, step {step}"


def _read_json(path: Path) -> dict[str, Any]:
    return _parse(path.read_text()) if path.is_file() else {}


def _parse(text: str) -> dict[str, Any]:
    """A JSON object; empty where a process was killed while it wrote."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
