"""docs/search.md: its commands run in order, and its job equals the one in jobs/."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def test_every_command_of_the_search_page_works(tmp_path: Path, repository: Path) -> None:
    page = (repository / "docs" / "search.md").read_text()
    commands = [line for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in text.splitlines()]
    assert len(commands) > 2
    (tmp_path / "jobs").symlink_to(repository / "jobs")
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "BLEAR_"))}
    keep |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    for command in commands:
        done = subprocess.run(
            ["bash", "-ec", command], cwd=tmp_path, env=keep, capture_output=True, text=True, check=False, timeout=800
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        assert "Tune" not in done.stderr  # nor what Ray's other processes would print
        assert "Traceback" not in done.stderr
    assert (tmp_path / "runs" / "search_scale_mix" / "report.html").is_file()


def test_the_search_page_shows_the_job_of_the_jobs_folder(repository: Path) -> None:
    page = (repository / "docs" / "search.md").read_text()
    shown = YAML(typ="safe").load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])["search"]
    job = YAML(typ="safe").load((repository / "jobs" / "search_scale_mix.yaml").read_text())["search"]
    for key, value in shown.items():
        if key == "baselines":
            assert value.items() <= job[key].items()
        else:
            assert value == job[key]
