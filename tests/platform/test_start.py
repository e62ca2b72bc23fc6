"""The notebook docs/start.ipynb runs; the jobs, the plugin and the commands of README and docs/start.md are right."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import blear
from blear.cli import cli
from blear.job.reader import read_job
from blear.testing import NotCheckedError, checks_of

BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
PAGES = ("README.md", "docs/start.md", "docs/python.md")


def test_the_notebook_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLEAR_STORAGE", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    notebook = json.loads((repository / "docs" / "start.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {cell['id']}", "exec"), names)  # noqa: S102
            assert cell["outputs"] == [], "the notebook is stored without outputs"
    assert (tmp_path / "models" / "first" / "card.md").is_file()


def test_faces_are_cut_and_predicted_as_the_page_states(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    PIL.Image.new("RGB", (500, 450), (90, 80, 70)).save("photo.jpg")
    blocks = BLOCK.findall((repository / "docs" / "python.md").read_text())
    (text,) = (text for kind, text in blocks if kind == "python" and "framing" in text)
    names = {"model": blear.load("robust-faces"), "np": np, "PIL": PIL}
    exec(compile(text, "python.md", "exec"), names)  # noqa: S102
    assert names["probabilities"].shape == (1, 7)


@pytest.mark.parametrize("page", PAGES)
def test_jobs_and_plugins_of_the_page_are_right(
    repository: Path, tmp_path: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()  # the source of README's job
    for number, (kind, text) in enumerate(BLOCK.findall((repository / page).read_text())):
        if kind == "yaml":
            (tmp_path / f"job{number}.yaml").write_text(text)
            read_job(tmp_path / f"job{number}.yaml")
        elif kind == "python":
            compile(text, page, "exec")
            if "PLUGIN_API" in text:
                file = tmp_path / "negative.py"
                file.write_text(text)
                for check in checks_of(str(file)):
                    with contextlib.suppress(NotCheckedError):
                        check()


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_exist(repository: Path, page: str) -> None:
    blocks = [text for kind, text in BLOCK.findall((repository / page).read_text()) if kind in ("", "sh")]
    for name, rest in re.findall(r"^blear (\w+)(.*)", "\n".join(blocks), re.MULTILINE):
        command = cli.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<!\S)--[\w-]+", rest.split("#")[0])) <= known, (name, rest)


def test_the_programs_side_by_side_are_complete(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    rows = re.findall(r"\]\((start/\S+)\) \| (\d+) \|", (repository / "docs" / "start.md").read_text())
    assert [name for name, _ in rows] == ["start/with_timm.py", "start/with_lightning.py", "start/job.yaml"]
    for name, lines in rows:
        text = (repository / "docs" / name).read_text()
        assert len(text.splitlines()) == int(lines)
        if name.endswith(".py"):
            compile(text, name, "exec")
        else:
            (tmp_path / "job.yaml").write_text(text)
            assert read_job(tmp_path / "job.yaml")[0].stages["plain"].backbone.params["model"] == "resnet10t"
