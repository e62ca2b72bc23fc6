"""`blear plugins new`: what it writes is whole, tidy, and refused where it would overwrite or clash."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tomllib
from itertools import combinations
from pathlib import Path

import pytest

from blear.errors import PluginError
from blear.job.reader import read_job
from blear.plugin.scaffold.new import TEMPLATE_SLOTS, write_file, write_package

EVERY_CHOICE = [slots for count in range(1, 5) for slots in combinations(TEMPLATE_SLOTS, count)]


@pytest.mark.parametrize("write", [write_package, write_file], ids=["package", "file"])
def test_every_choice_of_components_passes_the_linter(write, tmp_path: Path) -> None:
    for number, slots in enumerate(EVERY_CHOICE):
        write("sketch", slots, tmp_path / str(number))
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        pytest.skip("no ruff beside this Python")
    settings = ["--isolated", "--line-length", "120"]
    for command in (["check", *settings, "--select", "E,F,W,I,UP,B,ANN"], ["format", *settings, "--check"]):
        done = subprocess.run([ruff, *command, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_a_package_has_what_an_installable_plugin_needs(tmp_path: Path) -> None:
    root, *files = write_package("wet_lens", ["degradation", "head"], tmp_path)
    assert root == tmp_path / "blear-wet-lens"
    assert sorted(str(file.relative_to(root)) for file in files) == [
        "README.md",
        "job.yaml",
        "pyproject.toml",
        "src/blear_wet_lens/__init__.py",
        "src/blear_wet_lens/degradation.py",
        "src/blear_wet_lens/head.py",
        "src/blear_wet_lens/params.py",
        "tests/test_plugin.py",
    ]
    assert all(file.is_file() for file in files)
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["blear"] == {"wet_lens": "blear_wet_lens"}
    assert (root / "job.yaml").stat().st_mode & stat.S_IXUSR
    assert "wet_lens/fade" in (root / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["blear-wet-lens"]  # nothing half-written stays


@pytest.mark.parametrize("slots", EVERY_CHOICE, ids=",".join)
def test_the_job_of_a_one_file_plugin_is_valid(slots: tuple[str, ...], tmp_path: Path) -> None:
    plugin, job = write_file("job_" + "_".join(slots), slots, tmp_path)
    assert os.access(job, os.X_OK)
    read, catalog = read_job(job)
    assert list(read.stages) == ["clean", "robust"]
    names = {full for slot in catalog.components.values() for full in slot if full.startswith(f"{plugin.stem}/")}
    assert len(names) == len(slots)
    used = {read.stages["robust"].backbone.use, read.stages["robust"].head.use, read.data["pictures"].use}
    used |= {use.use for use in read.stages["robust"].degrade}
    assert names <= used  # each component that was asked for is used


def test_name_conflicts_are_errors(tmp_path: Path) -> None:
    write_package("sketch", ["head"], tmp_path)
    with pytest.raises(PluginError, match="already exists"):
        write_package("sketch", [], tmp_path)
    assert not (tmp_path / "blear-sketch" / "src" / "blear_sketch" / "dataset.py").exists()
    write_file("mark", ["head"], tmp_path)
    with pytest.raises(PluginError, match=r"mark\.py: already exists"):
        write_file("mark", [], tmp_path)
    for name in ("Sketch", "1st", "class", "a-b", ""):
        with pytest.raises(PluginError, match="is not a valid plugin name"):
            write_package(name, [], tmp_path / "other")
    with pytest.raises(PluginError, match="a plugin is already named 'vlqr'"):
        write_file("vlqr", [], tmp_path)
    with pytest.raises(PluginError, match=r"json\.py: the file would replace the module 'json'"):
        write_file("json", [], tmp_path / "other")
    assert not (tmp_path / "other").exists()
