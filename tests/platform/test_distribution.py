"""The wheel holds jobs, types and models; the source distribution is the whole checkout; both work on their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import blear
from blear.errors import JobError
from blear.job.shipped_jobs import copy_job, find_job, job_summary, shipped_jobs

GENERATED = {"PKG-INFO"}
"""Files of the source distribution that are not in the repository."""


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    return folder


def test_the_wheel_works_in_an_empty_folder(built: Path, repository: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "site")
    jobs = {f"blear/jobs/{file.name}" for file in (repository / "jobs").glob("*.yaml")}
    assert names >= jobs | {"blear/py.typed", "blear/__init__.pyi"}
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]
    (tmp_path / "work").mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(tmp_path / "site"), "BLEAR_STORAGE": str(tmp_path / "storage")}

    def call(*arguments: str) -> str:
        command = [sys.executable, "-m", "blear", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = [line.split()[0] for line in call("jobs").splitlines()]
    assert [f"blear/jobs/{name}.yaml" for name in listed] == sorted(jobs)
    assert "correct; 3 stages" in call("check", "vlqr", "--profile", "tiny")
    assert call("jobs", "copy", "vlqr").strip() == "vlqr.yaml"
    assert (tmp_path / "work" / "vlqr.yaml").read_bytes() == (repository / "jobs" / "vlqr.yaml").read_bytes()
    assert os.access(tmp_path / "work" / "vlqr.yaml", os.X_OK)


def test_the_source_distribution_is_the_checkout(built: Path, repository: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert names - GENERATED == _files_of(repository)


def _files_of(repository: Path) -> set[str]:
    """Files of a checkout that git does not ignore; of an unpacked source distribution, its files."""
    if not (repository / ".git").exists():
        skipped = {"__pycache__", "build", "dist", "runs", "shards"}
        found = {file.relative_to(repository) for file in repository.rglob("*") if file.is_file()}
        found = {file for file in found if not skipped & set(file.parts) and not _is_cache(file.parts[0])}
        return {file.as_posix() for file in found} - GENERATED
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.splitlines()
    return {name for name in listed if (repository / name).is_file()}


def _is_cache(folder: str) -> bool:
    return folder.startswith((".venv", ".mypy", ".pytest", ".ruff", ".import_linter", ".hypothesis"))


def test_jobs_are_found_by_name(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_job(Path("vlqr")) == repository / "jobs" / "vlqr.yaml"
    (tmp_path / "mine").write_text("name: mine\n")
    assert find_job(Path("mine")) == Path("mine")
    (tmp_path / "vlqr").mkdir()
    assert find_job(Path("vlqr")).suffix == ".yaml"
    for name, text in {
        "vlqrr": "did you mean 'vlqr'",
        "vlqr.yaml": "no such job file",
        "x/vlqr": "`blear jobs`",
    }.items():
        with pytest.raises(JobError, match=text):
            find_job(Path(name))
    copied = copy_job("max_mix", tmp_path / "my.yaml")
    assert job_summary(copied).startswith("Seven emotions at downscaling factors 1 to 8")
    with pytest.raises(JobError, match="the file exists"):
        copy_job("max_mix", copied)
    with pytest.raises(JobError, match="did you mean 'max_mix'"):
        copy_job("max_mi", tmp_path)
    assert all(job_summary(file) for file in shipped_jobs().values())
    with pytest.raises(blear.BlearError, match="no such job file"):
        blear.run("vlqrr")
