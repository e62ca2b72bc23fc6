"""Runs in object storage: moto's S3 server behind a proxy that fails on request; no Ray."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from dead_machine import kill

from blear.cli import cli
from blear.errors import RunError
from blear.job.reader import read_job
from blear.pipeline.run import evaluate_run, run_job
from blear.storage import run_mirror, transient
from blear.storage.object_store import ObjectStore, VersionConflict
from blear.storage.root import storage_root
from blear.storage.run_archive import unpack_run
from blear.storage.run_manifest import MANIFEST, Manifest, StoredFile, download_files, read_current
from blear.storage.run_mirror import RunMirror, mirrored
from blear.storage.stored_runs import fetch_stored_run, stored_run_states
from blear.storage.stored_shards import store_shards, stored_shards
from s3_proxy import Proxy

s3fs = pytest.importorskip("s3fs", reason="the extra blear[s3] is not installed")
URL = "s3://runs/team/runs/joint"


def write(root: Path, **files: str) -> None:
    """Writes files; `__` in a name is a folder."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def content(root: Path) -> dict[str, str]:
    """Path -> text of the files of a run, without hidden ones."""
    found = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
    return {name: text for name, text in found.items() if not name.startswith(".")}


def stored(store: ObjectStore) -> Manifest:
    found = store.read(MANIFEST)
    assert found is not None
    return Manifest.from_bytes(found[0])


def test_another_machine_gets_the_files_and_deleted_ones_go(proxy: Proxy, tmp_path: Path) -> None:
    one, two, store = tmp_path / "one", tmp_path / "two", ObjectStore(URL)
    mirror = RunMirror(one, store)
    write(one, job="1", stages__s__checkpoints__step_2__model="old", log="a\n")
    mirror.sync()
    before, known = (one / ".manifest.json").read_bytes(), (one / ".manifest.json").open("rb")
    write(one, stages__s__checkpoints__step_4__model="new", log="a\nb\n")
    (one / "stages/s/checkpoints/step_2/model").unlink()
    mirror.close()
    with known:
        assert known.read() == before, "replaced as a whole: a write that stops halfway leaves the one before"
    assert stored(store).holder is None
    with_log = [name for name in store.names("files") if name.startswith("log@")]
    assert len(with_log) == 1, "the earlier version is deleted"
    write(two, stale="x")  # of an earlier run on this machine
    RunMirror(two, store).close()
    assert content(two) == content(one)
    assert set(content(two)) == {"job", "log", "stages/s/checkpoints/step_4/model"}
    (two / "log").write_text("a\nb\nc\n")  # written after the last upload, before the machine failed
    RunMirror(two, store).close()
    assert content(two)["log"] == "a\nb\nc\n", "the newer file of the last writer stays"


def test_files_that_are_missing_on_the_last_writers_machine_come_back(proxy: Proxy, tmp_path: Path) -> None:
    """A cleaner of the cache has deleted what is old; the hidden manifest is the newest file."""
    one, store = tmp_path / "one", ObjectStore(URL)
    mirror = RunMirror(one, store)
    write(one, job="1", stages__s__model="weights", log="a\n")
    mirror.close()
    whole = content(one)
    for name in ("job", "stages/s/model"):
        (one / name).unlink()
    RunMirror(one, store).close()
    assert content(one) == whole
    assert set(stored(store).files) == set(whole)


def test_objects_of_a_run_that_ended_halfway_are_deleted(proxy: Proxy, tmp_path: Path) -> None:
    store = ObjectStore(URL)
    first = RunMirror(tmp_path, store)
    write(tmp_path, log="a\n")
    first.close()
    listed = store.keys("files")
    assert listed == [stored(store).files["log"].key("log")]
    store.put("files/stages/s/model@000000000000", b"uploaded, but the machine failed before it wrote the manifest")
    second = RunMirror(tmp_path, store)
    second.sync()  # beside the thread's own calls
    assert store.keys("files") == listed
    second.close()
    assert content(tmp_path) == {"log": "a\n"}


def test_a_checkpoint_that_is_replaced_during_its_upload_is_stored(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise no checkpoint is ever stored where an upload takes longer than the time between two checkpoints."""
    monkeypatch.setattr(run_mirror, "SYNC_S", 60.0)
    one, two, store = tmp_path / "one", tmp_path / "two", ObjectStore(URL)
    mirror, put = RunMirror(one, store), store.put
    write(one, job="1", checkpoints__step_2__model="old", checkpoints__step_2__state="2")

    def replace_checkpoint(key: str, data: bytes) -> None:
        write(one, checkpoints__step_4__model="new", checkpoints__step_4__state="4")
        shutil.rmtree(one / "checkpoints" / "step_2", ignore_errors=True)
        put(key, data)

    monkeypatch.setattr(store, "put", replace_checkpoint)
    mirror.sync()
    assert set(stored(store).files) == {"job", "checkpoints/step_2/model", "checkpoints/step_2/state"}
    kill(mirror)
    other = RunMirror(two, store, take_over=True)
    assert content(two) == {"job": "1", "checkpoints/step_2/model": "old", "checkpoints/step_2/state": "2"}
    write(two, checkpoints__step_4__model="new", checkpoints__step_4__state="4")
    shutil.rmtree(two / "checkpoints" / "step_2")
    other.close()
    assert set(stored(store).files) == {"job", "checkpoints/step_4/model", "checkpoints/step_4/state"}
    assert not list(two.glob(".uploads*"))


def test_files_of_a_folder_that_cannot_be_read_do_not_pass_for_deleted_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_mirror, "SYNC_S", 60.0)
    store = ObjectStore(f"memory://{tmp_path / 'bucket'}/runs/joint")
    mirror = RunMirror(tmp_path / "one", store)
    write(tmp_path / "one", job="1", stages__s__model="weights", stages__s__checkpoints__step_2__model="old")
    mirror.sync()
    before = stored(store).files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # no folder can be opened
    try:
        with pytest.raises(OSError, match="Too many open files"):
            mirror.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert stored(store).files == before
    assert store.keys("files") == sorted(one.key(name) for name, one in before.items())
    shutil.rmtree(tmp_path / "one" / "stages" / "s" / "checkpoints")
    mirror.close()
    assert set(stored(store).files) == {"job", "stages/s/model"}


def delete(root: Path) -> None:
    shutil.rmtree(root)


def move(root: Path) -> None:
    root.rename(root.with_name("moved"))


def replace(root: Path) -> None:
    shutil.rmtree(root)
    write(root, stages__s__log="written after the deletion\n")


def empty(root: Path) -> None:
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("change", [delete, move, replace, empty])
def test_a_folder_that_is_deleted_during_the_run_does_not_empty_its_copy(
    change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_mirror, "SYNC_S", 60.0)
    store = ObjectStore(f"file://{tmp_path / 'bucket'}/runs/joint")
    root = tmp_path / "one"
    mirror = RunMirror(root, store)
    files = {"job.yaml": "1", "stages/s/model": "weights"}
    for name, text in files.items():
        write(root, **{name: text})
    mirror.sync()
    before = set(store.keys("files"))
    change(root)
    for call in (mirror.sync, mirror.close):
        with pytest.raises(RunError, match="deleted or moved during the run; its copy in the storage is kept"):
            call()
    assert set(store.keys("files")) >= before
    assert stored(store).holder is None, "the next run does not wait for the lease"
    RunMirror(root, store).close()
    assert content(root) == files


def test_the_run_stops_when_its_folder_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_mirror, "SYNC_S", 0.01)
    stopped = threading.Event()
    earlier = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        mirror = RunMirror(tmp_path / "one", ObjectStore(f"memory://{tmp_path / 'bucket'}/runs/joint"))
        shutil.rmtree(tmp_path / "one")
        assert stopped.wait(10)
    finally:
        signal.signal(signal.SIGTERM, earlier)
    with pytest.raises(RunError, match="deleted or moved"):
        mirror.close()
    assert capsys.readouterr().err.count("this run stops") == 1


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_other_file_systems_of_fsspec_hold_runs(protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no conditional write: the versions are compared before each write."""
    monkeypatch.setattr(run_mirror, "SYNC_S", 60.0)
    store = ObjectStore(f"{protocol}://{tmp_path / 'bucket'}/runs/joint")
    one, two = tmp_path / "one", tmp_path / "two"
    first = RunMirror(one, store)
    write(one, job="1", stages__s__model="old")
    first.sync()
    write(one, stages__s__model="new")
    first.sync()
    kill(first)
    second = RunMirror(two, store, take_over=True)
    assert content(two) == content(one) == {"job": "1", "stages/s/model": "new"}
    assert store.keys("files") == sorted(one.key(name) for name, one in stored(store).files.items())
    write(one, job="2")
    with pytest.raises(VersionConflict):
        first.sync()
    second.close()
    assert store.names("files/stages") == ["s"]
    store.delete_below("")
    assert store.read(MANIFEST) is None


def test_a_full_disk_keeps_the_manifest_of_a_folder(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path / 'bucket'}")
    version = store.write(MANIFEST, b"old", replaces=None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # no file can grow further, as on a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            store.write(MANIFEST, b"x" * 11, replaces=version)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.read(MANIFEST) == (b"old", version)
    assert store.names("") == [MANIFEST]


def test_shards_are_stored_only_where_they_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs may lie at every URL of fsspec; another machine could not read shards at `file://`, and prepares them."""
    monkeypatch.setenv("BLEAR_STORAGE", f"file://{tmp_path / 'bucket'}")
    write(tmp_path / "faces-1", **{"dataset.json": "{}"})
    store_shards(tmp_path / "faces-1")
    assert stored_shards("faces-1") is None
    assert not (tmp_path / "bucket").exists()


def test_a_file_that_is_replaced_during_a_download_is_read_again(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_mirror, "SYNC_S", 60.0)
    one, store, logs = tmp_path / "one", ObjectStore(URL), iter(["a\nb\n", "a\nb\nc\n"])
    mirror = RunMirror(one, store)
    write(one, job="1", log="a\n")
    mirror.sync()

    def download(files: dict[str, StoredFile]) -> None:
        for log in logs:
            write(one, log=log)
            mirror.sync()  # deletes the object of the earlier log
            break
        download_files(store, tmp_path / "two", files)

    read_current(store, download)
    assert content(tmp_path / "two") == {"job": "1", "log": "a\nb\nc\n"}
    write(one, log="")
    mirror.close()
    store.delete([stored(store).files["job"].key("job")])
    with pytest.raises(FileNotFoundError):
        read_current(store, lambda files: download_files(store, tmp_path / "three", files))


def test_two_writers_are_told_apart(proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ObjectStore(URL)
    first = RunMirror(tmp_path / "one", store)
    with pytest.raises(RunError, match=r"another run writes to this storage: host .*, process"):
        RunMirror(tmp_path / "two", store)
    kill(first)
    second = RunMirror(tmp_path / "two", store)  # after the lease
    assert "has not ended; waiting 1 s for it" in capsys.readouterr().err
    write(tmp_path / "one", log="of the first")
    with pytest.raises(VersionConflict):
        first.sync()
    with pytest.raises(RunError, match="another run has taken over this run: host"):
        first.close()
    second.close()
    assert stored(store).files == {}, "the first wrote nothing after it lost the lock"


def test_the_bucket_is_away_for_a_while(proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, store = tmp_path / "one", ObjectStore(URL)
    mirror = RunMirror(root, store)
    kill(mirror)  # the test calls `sync`
    proxy.away = True
    write(root, log="a\n")
    for _ in range(3):
        with pytest.raises(OSError):
            mirror.sync()
    proxy.away = False
    mirror.close()
    assert set(stored(store).files) == {"log"}
    assert content(root) == {"log": "a\n"}


def test_the_bucket_is_away_at_the_start_and_at_the_end(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run waits for the storage at its start; at its end it names the folder that holds the results."""
    monkeypatch.setattr(transient, "TRANSIENT_S", 3.0)
    monkeypatch.setattr(run_mirror, "FINAL_S", 0.1)
    monkeypatch.setenv("BLEAR_STORAGE", "s3://runs/team")
    assert ObjectStore(URL).read(MANIFEST) is None  # the first request loads packages, for seconds on a busy machine
    proxy.away = True
    with pytest.raises(RunError, match="the storage does not reply"), mirrored(tmp_path / "joint"):
        pass
    assert "tried again for up to" in capsys.readouterr().err
    proxy.away = False

    def run() -> None:
        with mirrored(tmp_path / "joint"):
            write(tmp_path / "joint", log="a")
            proxy.away = True

    with pytest.raises(RunError, match="has not replied for") as caught:
        run()
    assert caught.value.do == f"the results are in {tmp_path / 'joint'}; the same command on this machine sends them"
    assert capsys.readouterr().err.count("does not reply") == 1


def test_an_upload_stops_halfway(proxy: Proxy, tmp_path: Path) -> None:
    """The stored run stays the earlier one, complete; the next upload repeats the rest."""
    one, store = tmp_path / "one", ObjectStore(URL)
    mirror = RunMirror(one, store)
    kill(mirror)
    write(one, stages__s__model="old" * 100, stages__s__state="2")
    mirror.sync()
    write(one, stages__s__model="new" * 100_000, stages__s__state="4")
    proxy.cut_at = 100_000
    with pytest.raises(OSError):
        mirror.sync()
    proxy.cut_at = None
    reader = {name: version.size for name, version in stored(store).files.items()}
    assert reader == {"stages/s/model": 300, "stages/s/state": 1}
    mirror.close()
    RunMirror(tmp_path / "two", store).close()
    assert content(tmp_path / "two") == content(one)


def test_a_damaged_object_is_refused(proxy: Proxy, tmp_path: Path) -> None:
    store = ObjectStore(URL)
    mirror = RunMirror(tmp_path / "one", store)
    write(tmp_path / "one", log="right")
    mirror.close()
    (name,) = store.names("files")
    store.put(f"files/{name}", b"wrong")
    with pytest.raises(RunError, match="a stored file is damaged"):
        RunMirror(tmp_path / "two", store)


PLUGIN = '''"""Fails in the second epoch while FAIL is set."""
import os
import torch
from blear.contracts import Component, Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class Nothing(Params):
    """No parameters."""


class Fails:
    def draw(self, keys):
        if os.environ.get("FAIL") and int(keys.epochs_B.max()) >= 1:
            raise RuntimeError("the machine is gone")
        return {"strength": torch.zeros(len(keys.samples_B))}

    def apply(self, frames_BTCHW, draws):
        return frames_BTCHW

    def levels(self):
        return [{}]


@hookimpl
def register_degradations():
    return [Component(name="fails", summary="changes nothing", params=Nothing, build=lambda p, c: Fails())]
'''
JOB = """name: joint
plugins: [./breaks.py]
data:
  faces: {use: faces/procedural, size: 32, subjects: {train: 2, dev: 2}, per_subject: 8, targets: [emotion]}
stages:
  one:
    data: faces
    degrade: [{use: breaks/fails}]
    backbone: {use: vlqr/cnn5x5, width: 0.1}
    head: {use: fer/emotion}
    optimizer: {lr: 0.01}
    batch_size: 8
    steps: 4
    log_every: 1
    checkpoint_every: 1
evaluate:
  sweep: [{use: gaussian_blur, over: {severity: [1]}}]
  arms: {one: {stage: one}}
  resamples: 20
  faces: 2
"""


def test_a_run_continues_on_a_new_machine(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first machine fails in step 3; the second has the job file, no shards and no run."""
    monkeypatch.setenv("BLEAR_STORAGE", "s3://runs/team")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "job.yaml").write_text(JOB)
    (tmp_path / "breaks.py").write_text(PLUGIN)
    job, catalog = read_job(tmp_path / "job.yaml")

    def run() -> Path:
        return run_job(job, catalog, runner="auto", fresh=False, command="blear run", profile=None).parent

    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "first"))
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(RuntimeError, match="the machine is gone"):
        run()
    monkeypatch.delenv("FAIL")
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "second"))
    root = run()
    assert root.is_relative_to(tmp_path / "second")
    assert not (storage_root() / "shards").exists(), "the shards come from the bucket"
    lines = [json.loads(line) for line in (root / "stages/one/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    first = tmp_path / "first" / root.relative_to(tmp_path / "second")
    before = [json.loads(line) for line in (first / "stages/one/log.jsonl").read_text().splitlines()]
    assert lines[:2] == before[:2], "steps 1 and 2 were not done again"
    assert [(run.name, run.state) for run in stored_run_states("s3://runs/team")] == [("joint", "done")]
    fetched = fetch_stored_run("s3://runs/team", "joint", tmp_path / "here", weights=False)
    for path in fetched:
        if path.name != "run.log":  # it has lines of after the last upload
            assert path.read_bytes() == (root / path.relative_to(tmp_path / "here")).read_bytes(), path
    assert {"report.html", "predictions.parquet", "summary.json"} <= {path.name for path in fetched}
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "third"))
    packed = CliRunner().invoke(cli, ["fetch", "joint", "--pack"], catch_exceptions=False)  # on a new head
    assert (tmp_path / "unpacked/report.html") in unpack_run(packed.output, tmp_path / "unpacked")
    assert "Accuracy" in evaluate_run(Path("joint"))
    assert (storage_root() / "runs" / "joint" / "report.html").is_file()
