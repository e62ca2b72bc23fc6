"""A run of nodes that share no folder: what a driver and its workers exchange through object storage; no Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dead_machine import kill

from blear.storage import run_mirror
from blear.storage.object_store import ObjectStore
from blear.storage.root import storage_root
from blear.storage.run_mirror import RunMirror, mirrored, sync_current
from blear.storage.shared_run import SharedRun, call_in_run
from s3_proxy import Proxy

STAGE, CHECKPOINT = "stages/one", "stages/one/checkpoints/step-{:08d}"


@pytest.fixture
def machine(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes this process one of several machines; returns the run folder there."""
    monkeypatch.setenv("BLEAR_STORAGE", "s3://runs/team")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(run_mirror, "SYNC_S", 60.0)  # uploads on request only

    def become(name: str) -> Path:
        monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / name))
        return storage_root() / "runs" / "joint"

    return become


def write(root: Path, **files: str) -> None:
    """Writes files below a folder: path -> text."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def save(root: Path, step: int, text: str) -> None:
    """Writes a checkpoint of the stage."""
    folder = CHECKPOINT.format(step)
    write(root, **{f"{folder}/model": text, f"{folder}/state.json": "{}", f"{STAGE}/reached": f"{step}\n"})


def content(root: Path) -> dict[str, str]:
    """Path -> text of the files that are not hidden."""
    found = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
    return {name: text for name, text in sorted(found.items()) if "/." not in f"/{name}"}


def test_a_stage_is_trained_on_other_machines(machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    driver = machine("driver")
    with mirrored(driver):
        write(driver, **{"job.yaml": "job", "stages/sr/model.safetensors": "sr", "stages/sr/stage.json": "done"})
        write(driver, **{f"{STAGE}/history.log": "of the driver"})
        shared = SharedRun.of(driver)
        sync_current()

        first = machine("first")
        with monkeypatch.context() as patch:
            patch.setattr(RunMirror, "close", kill)  # the machine fails
            with shared.writing(first / STAGE) as upload:
                assert content(first)["stages/sr/model.safetensors"] == "sr"
                save(first, 10, "ten")
                upload(True)
                save(first, 20, "not uploaded")
        driver = machine("driver")
        assert shared.stage_progress(driver / STAGE) == (10, 10)

        second = machine("second")
        with shared.writing(second / STAGE, lead=False):
            assert content(second)[CHECKPOINT.format(10) + "/model"] == "ten", "as rank 1"
        first = machine("first")
        with shared.writing(first / STAGE) as upload:
            assert CHECKPOINT.format(20) + "/model" not in content(first), "all workers continue from the same step"
            save(first, 30, "thirty")
            write(first, **{f"{STAGE}/model.safetensors": "final", f"{STAGE}/stage.json": "done"})

        driver = machine("driver")
        shared.collect()
        assert content(driver)[f"{STAGE}/model.safetensors"] == "final"
        assert content(driver)[f"{STAGE}/history.log"] == "of the driver"
        assert ObjectStore("s3://runs/team/runs/joint").names("parts") == []
        assert shared.stage_progress(driver / STAGE) == (30, 30), "of the driver's copy"
    other = machine("other")
    with mirrored(other, create=False):
        assert content(other) == content(driver)


def test_what_another_driver_left_unfinished_is_continued(
    machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, trial = machine("driver"), "trials/a"
    with mirrored(driver), monkeypatch.context() as patch:
        write(driver, **{"job.yaml": "job", "tune/experiment_state.json": "{}"})
        sync_current()
        shared, worker = SharedRun.of(driver), machine("worker")
        patch.setattr(RunMirror, "close", kill)  # the machine fails
        with shared.writing(worker / trial) as upload:
            save(worker / trial, 10, "ten")
            write(worker / trial, **{f"stages/done/{name}": "x" for name in ("stage.json", "checkpoints/step-9/model")})
            upload(True)
        machine("driver")
    monkeypatch.delenv("RAY_ADDRESS")  # the new driver trains by itself or on another cluster
    other, checkpoint = machine("other"), f"{trial}/{CHECKPOINT.format(10)}/model"
    with mirrored(other):
        SharedRun.stored(other).collect(unfinished=True)
        assert content(other)[checkpoint] == "ten"
        assert f"{trial}/stages/done/stage.json" in content(other)
        assert f"{trial}/stages/done/checkpoints/step-9/model" not in content(other)
        assert ObjectStore("s3://runs/team/runs/joint").names("parts") == []
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        shared, short = SharedRun.of(other), machine("short")
        assert shared.stage_progress(other / trial / STAGE) == (10, 10)
        with monkeypatch.context() as patch:
            patch.setattr(RunMirror, "close", kill)  # the machine fails before its first upload
            with shared.writing(short / trial):
                assert content(short)[checkpoint] == "ten"
        last = machine("last")
        with shared.writing(last / trial):
            assert content(last)[checkpoint] == "ten"
            assert "tune/experiment_state.json" not in content(last)
        machine("other")
        shared.collect()
        assert content(other)[checkpoint] == "ten"


def test_tasks_return_blocks_and_tables(machine: Callable[[str], Path]) -> None:
    driver = machine("driver")
    with mirrored(driver):
        write(driver, **{"job.yaml": "job", "run.json": "{}", f"{STAGE}/stage.json": "done"})
        save(driver, 10, "large")
        shared, block = SharedRun.of(driver), driver / "evaluation" / "abc" / "0.arrow"
        sync_current()

        worker = machine("worker")
        write(worker, **{"stages/old/stage.json": "of an earlier run"})
        shared.pull()
        assert set(content(worker)) == {"job.yaml", "run.json", f"{STAGE}/stage.json", f"{STAGE}/reached"}
        assert shared.local(block) == worker / "evaluation" / "abc" / "0.arrow"
        write(worker, **{"evaluation/abc/0.arrow": "rows"})
        shared.put(shared.local(block))

        def finish(root: Path, path: Path) -> str:
            shared.get(path)
            write(root, **{"predictions.parquet": path.read_text(), "run.json": "{1}"})
            return "table"

        joiner = machine("joiner")
        write(joiner, **{"validation.parquet": "of an earlier run of this name"})
        assert call_in_run(shared, finish, joiner, shared.local(block)) == "table"

        driver = machine("driver")
        assert shared.existing(block.parent) == {"0.arrow"}
        shared.collect()
        shared.forget(block.parent.parent)
        assert shared.existing(block.parent) == set()
        assert {name: content(driver)[name] for name in ("predictions.parquet", "run.json")} == {
            "predictions.parquet": "rows",
            "run.json": "{1}",
        }
        assert not (driver / "validation.parquet").exists()
    store = ObjectStore("s3://runs/team/runs/joint")
    assert store.names("parts") == store.names("loose") == []


def test_with_a_shared_folder_nothing_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLEAR_STORAGE", str(tmp_path))
    shared = SharedRun.of(tmp_path / "runs" / "joint")
    shared.pull()
    shared.collect()
    with shared.writing(tmp_path / "runs/joint/stages/one") as upload:
        upload(True)
    assert shared.local(tmp_path / "x") == tmp_path / "x"
    assert shared.existing(tmp_path) is None
    assert shared.stage_progress(tmp_path) is None
    assert call_in_run(shared, len, "four") == 4
    assert not list(tmp_path.iterdir())
