"""Runs in object storage: moto's S3 server behind a proxy that fails on request; no Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from s3_proxy import Proxy, proxied

from blear.errors import BlearError, RunError
from blear.job.reader import read_job
from blear.pipeline.run import evaluate_run, run_job
from blear.predict.inputs import find_inputs
from blear.predict.remote_inputs import downloaded
from blear.storage import run_mirror, transient
from blear.storage.object_store import ObjectStore, VersionConflict
from blear.storage.root import storage_root
from blear.storage.run_mirror import MANIFEST, Manifest, RunMirror, mirrored
from blear.storage.stored_runs import fetch_stored_run, stored_run_states

s3fs = pytest.importorskip("s3fs", reason="the extra blear[s3] is not installed")
moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
URL = "s3://runs/team/runs/joint"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Port of an S3 server."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def proxy(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the S3 server, whose only bucket is empty."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(run_mirror, "SYNC_S", 0.05)
    monkeypatch.setattr(run_mirror, "_RENEW_S", 0.1)
    monkeypatch.setattr(run_mirror, "LEASE_S", 1.0)
    with proxied(port) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.port}")
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem(use_listings_cache=False)
        files.mkdir("runs")
        yield made
        made.away = False
        files.rm("runs", recursive=True)
        s3fs.S3FileSystem.clear_instance_cache()


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


def kill(mirror: RunMirror) -> None:
    """Ends the thread without a last upload and without releasing the lock, as when the machine is switched off."""
    mirror._done.set()
    mirror._thread.join()


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
    assert "Accuracy" in evaluate_run(Path("joint"))
    assert (storage_root() / "runs" / "joint" / "report.html").is_file()


def test_videos_of_a_bucket_are_inputs_of_predict(proxy: Proxy, tmp_path: Path) -> None:
    for name in ("videos/a.mp4", "videos/x/b.PNG", "videos/x/notes.txt", "other/c.mp4"):
        ObjectStore("s3://runs").put(name, name.encode())
    for text in ("s3://runs/videos/**", "s3://runs/videos"):
        found = find_inputs([text, "s3://runs/videos/a.mp4"])
        assert [(one.name, one.is_picture) for one in found] == [
            ("s3://runs/videos/a.mp4", False),
            ("s3://runs/videos/x/b.PNG", True),
        ], text
    with downloaded(found[1]) as here:
        assert (here.name, here.path.name, here.is_picture) == (found[1].name, "b.PNG", True)
        assert here.path.read_text() == "videos/x/b.PNG"
    assert not here.path.exists()
    with (
        pytest.raises(BlearError, match="there is no such file"),
        downloaded(replace(found[1], given="s3://runs/no.mp4")),
    ):
        pass
    with pytest.raises(BlearError, match="has no video and no picture"):
        find_inputs(["s3://runs/nothing/*"])
