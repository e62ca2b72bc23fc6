"""Files reach the disk before they get their final names; lost pages of a decoded shard are found."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from data_toy import prepare_toy, toy_ref

from blear.data.decoded.store import Store
from blear.storage.durable import durable_file
from blear.storage.run_folder import write_text
from blear.train.loop import train_stage
from blear.train.worker import LocalWorker


@pytest.fixture
def renamed(monkeypatch):
    """(name, whether the content was on the disk) of each file that gets its final name, by the real calls."""
    synced, found = set(), []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor):
        fsync(descriptor)
        state = os.fstat(descriptor)
        synced.add((state.st_ino, state.st_size, state.st_mtime_ns))

    def watched_replace(source, target, **options):
        state = Path(source).stat()
        if not str(target).endswith(".use"):  # a marker, whose loss permits eviction
            found.append((Path(target).name, (state.st_ino, state.st_size, state.st_mtime_ns) in synced))
        replace(source, target, **options)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return found


def test_shards_indexes_and_decoded_shards_are_on_the_disk_before_they_are_named(tmp_path, renamed):
    prepared = prepare_toy(tmp_path)
    Store.open(prepared, "train").take(np.arange(6))
    assert {Path(name).suffix for name, _ in renamed} == {".tar", ".idx", ".json", ".d4"}
    assert [name for name, durable in renamed if not durable] == []


def test_the_files_of_a_stage_are_on_the_disk_before_they_are_named(plan, renamed):
    tiny = plan("durable", "stages.clean.steps=2")
    train_stage(tiny, LocalWorker(torch.device("cpu")))
    write_text(tiny.run.root / "run.json", "{}")
    assert {"model.safetensors", "stage.json", "run.json"} <= {name for name, _ in renamed}
    assert [name for name, durable in renamed if not durable] == []


@pytest.mark.parametrize("lost", ["all frames", "one page of sixteen"])
def test_a_decoded_shard_with_lost_pages_is_decoded_again(tmp_path, lost):
    """The file has its full size and a valid end; its pages are zeros, as after a power failure."""
    prepared = prepare_toy(tmp_path, samples=1200, parts=1, kind="clips")
    store = Store.open(prepared, "train")
    expected = store.take(np.arange(1200)).frames.numpy().copy()
    store.close()
    (file,) = (prepared.folder / "cache").glob("*.d4")
    size = file.stat().st_size
    with file.open("r+b") as opened:
        if lost == "all frames":
            opened.write(bytes(expected.nbytes))
        else:
            opened.seek(size // 2 - size // 32)
            opened.write(bytes(size // 16))
    again = Store.open(prepared, "train").take(np.arange(1200))
    assert again.good_B.all()
    assert np.array_equal(again.frames.numpy(), expected)


def test_an_error_of_a_full_disk_has_a_path(tmp_path):
    """That of a failed write has none, and the message of the command would not say which disk is full."""
    toy = tmp_path / "toy"
    toy.mkdir()
    toy_ref(toy)  # writes its plugin
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_text(tmp_path / "job.yaml", "x" * 5001)
        assert caught.value.filename == str(tmp_path / "job.yaml")
        with pytest.raises(OSError, match="File too large") as caught:
            prepare_toy(toy)
        assert caught.value.filename.startswith(str(toy / "shards"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_file_that_is_not_finished_leaves_the_old_one_alone(tmp_path, error):
    path = tmp_path / "file"
    write_text(path, "old")

    def write() -> None:
        with durable_file(path) as partial:
            partial.write_text("ne")
            raise error

    with pytest.raises(error):
        write()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"file": "old"}
