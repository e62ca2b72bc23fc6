"""run.log: records that cannot be written are left out."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from blear.storage.run_log import log_to_file, stop_logging


def test_names_that_are_no_text_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        log_to_file(tmp_path / "run.log")
        logging.getLogger("blear.somewhere").info("clip\udcff.mp4 was read")
        assert capsys.readouterr().err == ""
    finally:
        stop_logging()
    assert "clip\\udcff.mp4 was read" in (tmp_path / "run.log").read_text()


def test_a_full_disk_prints_no_traceback_for_each_record(capsys: pytest.CaptureFixture[str]) -> None:
    """The command itself reports the full disk."""
    try:
        log_to_file(Path("/dev/full"))
        logging.getLogger("blear.somewhere").info("a record")
        assert capsys.readouterr().err == ""
    finally:
        stop_logging()
