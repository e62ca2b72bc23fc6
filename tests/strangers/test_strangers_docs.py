"""Runs the commands of docs/plugins.md in their order, and compares their output with the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from strangers_outside import Outside

BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


@pytest.mark.timeout(900)
def test_every_command_of_the_page_works(outside: Outside, repository: Path) -> None:
    blocks = BLOCK.findall((repository / "docs" / "plugins.md").read_text())
    commands = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
    printed = [line for kind, text in blocks if kind == "" for line in text.splitlines()]
    assert len(commands) > 6
    assert len(printed) > 1
    outside.folder.joinpath("page").mkdir()
    here = Outside(outside.folder / "page", outside.environment)
    output = "".join(here("bash", "-ec", command) for command in commands)
    for line in printed:
        assert line in output
    assert "0 failed" in output
    for name in ("sketch", "sketch_wide"):
        assert (Path(outside.environment["BLEAR_STORAGE"]) / "runs" / name / "report.html").is_file()
    rows = dict(re.findall(r"\| (clean-trained|robust) \|.*?\| ([\d.]+)\D*\[[\d., ]+\] \|$", output, re.MULTILINE))
    assert float(rows["robust"]) > float(rows["clean-trained"])  # at the largest factor, as the page states
    here("pip", "uninstall", "--yes", "blear-sketch")
