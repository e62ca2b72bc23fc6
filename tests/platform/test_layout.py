"""The layout is the architecture: source roots are no packages, and plugins register like a stranger's."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path


def test_import_platform_is_the_standard_librarys_from_the_checkout(repository: Path) -> None:
    code = "import platform; print(platform.python_version(), platform.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    version, file = done.stdout.split()
    assert version == ".".join(map(str, sys.version_info[:3]))
    assert not Path(file).is_relative_to(repository / "platform")


def test_source_roots_hold_packages_only(repository: Path) -> None:
    for root in ("platform", "plugins"):
        loose = [p.name for p in (repository / root).iterdir() if p.is_file()]
        assert loose == [], root


def test_every_plugin_folder_is_registered_and_shipped(repository: Path) -> None:
    folders = {p.name for p in (repository / "plugins").iterdir() if p.name.startswith("blear_")}
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {f"plugins/{name}" for name in folders} == set(shipped) - {"platform/blear"}
    libraries = {"blear_emotions", "blear_interop"}  # without a component of its own
    assert folders - libraries == {point.value for point in entry_points(group="blear")} & folders


def test_the_readme_names_files_that_exist(repository: Path) -> None:
    import re

    text = (repository / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (repository / target).exists(), target
    for job in re.findall(r"`(\w+\.yaml)`", text):
        assert (repository / "jobs" / job).is_file(), job
