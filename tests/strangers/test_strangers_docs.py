"""Runs the commands of docs/plugins.md in their order, and compares their output with the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from strangers_outside import Outside

BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_of_the_page_works(outside: Outside, repository: Path) -> None:
    blocks = BLOCK.findall((repository / "docs" / "plugins.md").read_text())
    commands = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
    printed = [line for kind, text in blocks if kind == "" for line in text.splitlines()]
    assert len(commands) > 6
    assert len(printed) > 1
    outside.folder.joinpath("page").mkdir()
    here = Outside(outside.folder / "page", outside.environment)
    outputs = {}
    steps = {"sketch_wide": 20, "blear run": 300}  # of 600; the first result is not on the page
    for command in commands:
        fewer = next((f" --set 'stages.*.steps={number}'" for part, number in steps.items() if part in command), "")
        outputs[command] = here("bash", "-ec", command + fewer)
    output = "".join(outputs.values())
    for line in printed:
        assert line in output
    assert "0 failed" in output
    for name in ("sketch", "sketch_wide"):
        assert (Path(outside.environment["BLEAR_STORAGE"]) / "runs" / name / "report.html").is_file()
    trained = outputs["blear run blear-sketch/job.yaml"]
    rows = dict(re.findall(r"\| (clean-trained|robust) \|.*?\| ([\d.]+)\D*\[[\d., ]+\] \|$", trained, re.MULTILINE))
    assert float(rows["robust"]) > float(rows["clean-trained"])  # at the largest factor, as the page states
    here("pip", "uninstall", "--yes", "blear-sketch")
