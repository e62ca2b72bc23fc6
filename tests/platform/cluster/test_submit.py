"""`blear submit` without a cluster: uploaded files, missing files, wheels of local plugins, errors."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package
from submit_project import PLUGIN, make_project

from blear.cluster.job_server import JobServer
from blear.cluster.required_files import check_job, find_missing
from blear.cluster.upload import MAX_UPLOAD_BYTES, plan_upload
from blear.cluster.wheels import build_wheel
from blear.errors import JobError, PluginError, RunError
from blear.storage import transient

JOB = """name: small
data:
  faces: {use: fer/fer2013, source: SOURCE}
stages:
  only:
    data: faces
    backbone: {use: vlqr/cnn5x5}
    head: {use: fer/emotion}
    optimizer: {lr: 0.1}
    steps: 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with ignored files at several levels."""
    files = {
        "job.yaml": "name: x\n",
        "a/kept.py": "a = 1\n",
        "a/dropped.log": "log",
        "a/deep/.gitignore": "here.txt\n",
        "a/deep/here.txt": "x",
        "a/deep/there.txt": "xyz",
        "runs/old/model.bin": "weights",
        "data/raw.csv": "1,2",
        ".venv/lib/big.so": "x" * 100,
        ".git/objects/pack": "x",
        "__pycache__/a.pyc": "x",
        ".gitignore": "*.log\n/runs/\n",
        ".rayignore": "data/\n",
    }
    for name, text in files.items():
        (tmp_path / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / name).write_text(text)
    return tmp_path / "work"


def test_listed_files_equal_the_files_that_ray_packs(folder: Path, tmp_path: Path) -> None:
    package = tmp_path / "package.zip"
    create_package(
        str(folder),
        package,
        include_gitignore=True,
        excludes=get_runtime_env_default_excludes(),
        logger=logging.getLogger("test"),
    )
    with zipfile.ZipFile(package) as archive:
        packed = {part.filename: part.file_size for part in archive.infolist() if not part.is_dir()}
        assert {part.compress_type for part in archive.infolist()} == {zipfile.ZIP_STORED}
    upload = plan_upload(folder)
    assert {str(path): size for path, size in upload.sizes.items()} == packed
    assert set(packed) == {
        "job.yaml", "a/kept.py", "a/deep/.gitignore", "a/deep/there.txt", ".gitignore", ".rayignore",
    }  # fmt: skip
    assert upload.total == sum(packed.values())


def test_largest_files_are_listed_and_512_mib_are_refused(folder: Path) -> None:
    with (folder / "film.mkv").open("wb") as film:
        film.truncate(MAX_UPLOAD_BYTES - 10_000_000)
    upload = plan_upload(folder)
    upload.check()
    assert upload.listing()[0].endswith("7 files, 502.5 MiB")
    assert upload.listing()[1].split() == ["502.5", "MiB", "film.mkv"]
    with (folder / "a" / "other.bin").open("wb") as other:
        other.truncate(10_000_000)
    with pytest.raises(JobError, match=r"512\.0 MiB in 8 files") as caught:
        plan_upload(folder).check()
    lines = caught.value.what.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ["film.mkv", "a/other.bin"]
    assert ".gitignore" in caught.value.do


def test_names_that_ray_cannot_pack_are_refused(folder: Path) -> None:
    """Ray writes names as UTF-8, and would fail with a traceback during the upload."""
    (folder / os.fsdecode(b"clip\xff.mp4")).touch()
    (folder / "größe.txt").touch()
    with pytest.raises(JobError, match=r"no UTF-8, which Ray cannot pack: clip\\udcff\.mp4\n"):
        plan_upload(folder).check()


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="not a folder"):
        plan_upload(tmp_path / "nowhere")


def write_job(folder: Path, source: Path | str) -> Path:
    (folder / "job.yaml").write_text(JOB.replace("SOURCE", str(source)))
    return folder / "job.yaml"


def test_data_that_only_the_cluster_has_is_a_warning(folder: Path) -> None:
    file = write_job(folder, "/mnt/of-the-cluster/fer2013.csv")
    checked = check_job(file, profile=None, overrides=())
    (warning,) = find_missing(checked, file, plan_upload(folder))
    assert warning == (
        "data.faces.source: /mnt/of-the-cluster/fer2013.csv is not uploaded; every node must have it at this path"
    )
    with pytest.raises(JobError, match="unknown key"):  # the rest of the job is checked
        check_job(file, profile=None, overrides=("stages.only.stepz=2",))


def test_ignored_data_is_a_warning_and_uploaded_data_is_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    file = write_job(folder, "data/raw.csv")  # excluded by .rayignore
    (warning,) = find_missing(check_job(file, profile=None, overrides=()), file, plan_upload(folder))
    assert warning.startswith("data.faces.source: data/raw.csv is not uploaded (outside the working directory, or")
    checked = check_job(file, profile=None, overrides=("data.faces.source=a/deep",))
    assert find_missing(checked, file, plan_upload(folder)) == []
    monkeypatch.chdir(folder.parent)  # `--working-dir work`: the path exists here, but the job starts in `work`
    checked = check_job(file, profile=None, overrides=("data.faces.source=work/a",))
    (warning,) = find_missing(checked, file, plan_upload(folder))
    assert warning.startswith("data.faces.source: work/a is not uploaded")
    with pytest.raises(JobError, match="no such file or folder: data/none"):
        check_job(file, profile=None, overrides=("data.faces.source=data/none",))


def test_a_job_or_plugin_that_is_not_uploaded_is_an_error(folder: Path, tmp_path: Path) -> None:
    file = write_job(folder, folder / "a")
    (folder / "own.py").write_text(PLUGIN)
    file.write_text(file.read_text() + "plugins: [own.py]\n")
    checked = check_job(file, profile=None, overrides=())
    assert find_missing(checked, file, plan_upload(folder)) == []
    (folder / ".gitignore").write_text("own.py\n")
    with pytest.raises(JobError, match="not uploaded") as caught:
        find_missing(checked, file, plan_upload(folder))
    assert caught.value.what.splitlines()[1:] == [f"    {folder / 'own.py'}"]
    outside = tmp_path / "outside.yaml"
    outside.write_text(JOB.replace("SOURCE", str(folder / "a")))
    with pytest.raises(JobError, match="not uploaded") as caught:
        find_missing(check_job(outside, profile=None, overrides=()), outside, plan_upload(folder))
    assert str(outside) in caught.value.what


def test_a_local_plugin_becomes_a_wheel_that_installs_with_its_entry_point(tmp_path: Path) -> None:
    _, installed = make_project(tmp_path)
    source, built = tmp_path / "gentle", tmp_path / "built"
    wheel = build_wheel("blear-gentle", source, built)
    assert wheel.parent == built
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--target", str(tmp_path / "there")]
    done = subprocess.run([*pip, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # Ray installs a wheel with its requirements; this one has none
    code = (
        "from importlib.metadata import entry_points, distribution; "
        "print([p.value for p in entry_points(group='blear') if p.name == 'gentle'], "
        "distribution('blear-gentle').requires)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "there")}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert found.stdout.strip() == "['blear_gentle'] None"
    assert build_wheel("blear-gentle", source, tmp_path / "again").name == wheel.name
    (source / "blear_gentle.py").write_text(PLUGIN + "\nCHANGED = True\n")
    assert build_wheel("blear-gentle", source, tmp_path / "changed").name != wheel.name
    (source / "backend.py").write_text("def build_wheel(*a, **k): raise RuntimeError('no compiler here')\n")
    with pytest.raises(PluginError, match="no compiler here"):
        build_wheel("blear-gentle", source, tmp_path / "broken")
    assert installed.is_dir()


def test_an_unreachable_job_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # JobServer sets it; monkeypatch restores it
    monkeypatch.setattr(transient, "TRANSIENT_S", 0.2)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, but not listening
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(RunError, match="no Ray job server answers") as caught:
            JobServer(address)
    assert caught.value.where == address
    assert "ray dashboard cluster.yaml" in caught.value.do
