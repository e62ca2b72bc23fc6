import contextlib
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from data_toy import prepare_toy, toy_ref

from blear.data.dataset_info import Layout
from blear.data.prepare import part_runner, part_writer
from blear.data.prepare.run import prepare_dataset
from blear.data.prepared import Prepared
from blear.errors import DataError, PluginError
from blear.plugin.component_ref import ComponentRef
from blear.storage import durable


def files(folder):
    """Path relative to `folder` -> (content, modification time)."""
    found = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in found}


def contents(folder):
    return {name: content for name, (content, _) in files(folder).items()}


def test_dataset_json_describes_the_prepared_dataset(tmp_path):
    prepared = prepare_toy(tmp_path, kind="clips", seed=5)
    assert re.fullmatch(r"toy-random-[0-9a-f]{12}", prepared.folder.name)
    assert sorted(contents(prepared.folder)) == sorted(
        ["dataset.json"]
        + [f"{split}/0000{n}.json" for split in ("train", "test") for n in (0, 1)]
        + [f"{split}/0000{n}-000.tar{idx}" for split in ("train", "test") for n in (0, 1) for idx in ("", ".idx")]
    )
    assert prepared.name == "toy/random"
    assert prepared.splits == ("train", "test")
    assert prepared.count("train") == 6
    assert (prepared.clip.length, prepared.clip.channels, prepared.clip.height, prepared.clip.width) == (4, 3, 6, 5)
    assert prepared.targets["emotion"].classes == ("sad", "glad")
    assert prepared.targets["valence"].bounds == (-1.0, 1.0)
    assert prepared.terms == "Made of random numbers."
    assert prepared.split("test").layout == Layout(frames="uint8")
    assert (prepared.info.seed, prepared.info.version) == (5, "1")
    assert prepared.info.params == {
        "kind": "clips", "parts": 2, "samples": 3, "source": None, "log": "", "kill": "", "fault": "",
    }  # fmt: skip
    for path, shard in zip(prepared.shards("test"), prepared.split("test").shards, strict=True):
        assert path == prepared.folder / shard.name
        assert (shard.samples, shard.bytes) == (3, path.stat().st_size)
        assert shard.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    again = Prepared.open(prepared.folder)
    assert again == prepared


def test_worker_processes_write_the_same_bytes(tmp_path):
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    one = prepare_toy(tmp_path / "one", kind="floats")
    many = prepare_toy(tmp_path / "many", kind="floats", workers=2)
    assert one.folder.name == many.folder.name
    assert contents(one.folder) == contents(many.folder)
    assert one.split("train").layout == Layout(frames="float32", clean="float32", clean_shape=(2, 4, 3, 1))


def test_few_small_parts_start_no_worker_process(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    one = prepare_toy(tmp_path / "one", kind="floats")
    monkeypatch.setattr(part_runner, "_submit", None)
    monkeypatch.setattr(part_runner, "_ALONE_S", 3600.0)
    assert contents(prepare_toy(tmp_path, kind="floats", workers=None).folder) == contents(one.folder)


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core: there are no worker processes")
@pytest.mark.parametrize("error", [None, OSError("no process starts")])
def test_worker_processes_write_the_parts_that_are_left_after_a_second(tmp_path, monkeypatch, error):
    log, submitted, here = tmp_path / "log", threading.Event(), []
    submit, write = part_runner._submit, part_runner.write_part

    def submit_rest(*arguments):
        try:
            if error is not None:
                raise error
            return submit(*arguments)
        finally:
            submitted.set()

    def write_when_submitted(spec, part):
        here.append(part)
        assert submitted.wait(100)
        return write(spec, part)

    monkeypatch.setattr(part_runner, "_ALONE_S", 0.0)
    monkeypatch.setattr(part_runner, "_submit", submit_rest)
    monkeypatch.setattr(part_runner, "write_part", write_when_submitted)
    with contextlib.nullcontext() if error is None else pytest.raises(OSError, match="no process starts"):
        prepare_toy(tmp_path, parts=3, workers=None, log=str(log))
    assert len(here) <= 1
    written = log.read_text().split() if log.is_file() else []
    assert len(written) == len(set(written)) == (6 if error is None else len(here))


def test_a_complete_folder_is_not_written_again(tmp_path):
    log = tmp_path / "log"
    first = prepare_toy(tmp_path, log=str(log))
    before = files(first.folder)
    assert prepare_toy(tmp_path, log=str(log)) == first
    assert files(first.folder) == before
    assert log.read_text().split() == ["train/part0", "train/part1", "test/part0", "test/part1"]


def test_the_digest_depends_on_everything_that_shapes_the_data(tmp_path):
    raw = tmp_path / "raw"
    (raw / "sub").mkdir(parents=True)
    (raw / "sub" / "a.csv").write_text("1")
    folders = [prepare_toy(tmp_path, source=raw).folder]
    folders.append(prepare_toy(tmp_path, source=raw, seed=1).folder)
    folders.append(prepare_toy(tmp_path, source=raw, version="2").folder)
    folders.append(prepare_toy(tmp_path, source=raw, samples=2).folder)
    (raw / "sub" / "b.csv").write_text("")
    folders.append(prepare_toy(tmp_path, source=raw).folder)
    os.utime(raw / "sub" / "a.csv", ns=(1, 1))
    folders.append(prepare_toy(tmp_path, source=raw).folder)
    folders.append(prepare_toy(tmp_path, source=raw / "sub" / "a.csv").folder)
    (raw / "sub" / "a.csv").write_text("22")
    folders.append(prepare_toy(tmp_path, source=raw / "sub" / "a.csv").folder)
    assert len(set(folders)) == 8
    # a default that is written out changes nothing
    assert prepare_toy(tmp_path, kind="stills").folder == prepare_toy(tmp_path).folder


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from data_toy import prepare_toy
prepare_toy(Path(sys.argv[2]), parts=3, log=sys.argv[3], kill=sys.argv[4])
"""


def test_a_killed_run_continues_after_the_finished_parts(tmp_path):
    log, kill = tmp_path / "log", tmp_path / "kill"
    kill.touch()
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path), str(log), str(kill)]
    dead = subprocess.run(command, check=False, capture_output=True, timeout=100)
    assert dead.returncode == -9
    (folder,) = (path for path in (tmp_path / "shards").iterdir() if path.is_dir())
    before = files(folder)
    done = {name: state for name, state in before.items() if name.startswith("train/00000")}
    assert sorted(done) == ["train/00000-000.tar", "train/00000-000.tar.idx", "train/00000.json"]
    assert before.keys() - done.keys() == {"train/00001-000.tar.partial"}
    kill.unlink()
    log.unlink()
    prepared = prepare_toy(tmp_path, parts=3, log=str(log), kill=str(kill))
    assert prepared.folder == folder
    assert log.read_text().split() == ["train/part1", "train/part2", "test/part0", "test/part1", "test/part2"]
    after = files(folder)
    assert {name: after[name] for name in done} == done
    assert not [name for name in after if name.endswith(".partial")]
    assert prepared.count("train") == 9


def test_only_a_deleted_shard_is_written_again(tmp_path):
    log = tmp_path / "log"
    first = prepare_toy(tmp_path, log=str(log))
    before = files(first.folder)
    (first.folder / "test/00001-000.tar").unlink()
    log.unlink()
    assert prepare_toy(tmp_path, log=str(log)) == first
    assert log.read_text().split() == ["test/part1"]
    after = files(first.folder)
    assert {name: content for name, (content, _) in after.items()} == {n: content for n, (content, _) in before.items()}
    rewritten = {name for name in after if after[name] != before[name]}
    assert rewritten == {"dataset.json", "test/00001.json", "test/00001-000.tar", "test/00001-000.tar.idx"}


def test_a_deleted_index_is_built_from_its_shard(tmp_path):
    log = tmp_path / "log"
    prepared = prepare_toy(tmp_path, log=str(log))
    before = contents(prepared.folder)
    for index in prepared.folder.glob("test/*.idx"):
        index.unlink()
    log.unlink()
    (prepared.folder / "dataset.json").unlink()
    assert prepare_toy(tmp_path, log=str(log)) == prepared
    assert not log.exists()
    assert contents(prepared.folder) == before


def test_a_large_part_becomes_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(part_writer, "SHARD_SAMPLES", 2)
    prepared = prepare_toy(tmp_path, samples=5, parts=1)
    shards = prepared.split("train").shards
    assert [shard.name for shard in shards] == [f"train/00000-00{n}.tar" for n in range(3)]
    assert [shard.samples for shard in shards] == [2, 2, 1]
    monkeypatch.setattr(part_writer, "SHARD_BYTES", 3000)  # one sample has at least 2048 bytes with its headers
    prepared = prepare_toy(tmp_path, samples=4, parts=1)
    assert [shard.samples for shard in prepared.split("train").shards] == [2, 2]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shape", r"part1/002: frames have shape \(1, 5, 5, 1\), the dataset's clip says \(1, 6, 5, 1\)"),
        ("dtype", "part1/002: frames are float64"),
        ("nan", "part1/002: frames hold values that are not finite"),
        ("bytes_as_floats", "part1/002: frames are float32 with values up to 254, expected about"),
        ("list", "part1/002: frames are list, expected a NumPy array"),
        ("tuple", "split test, part part1: not a Sample: tuple"),
        ("layout", "part1/002: stored as frames='float32' .*, earlier samples of the split as frames='uint8'"),
        ("class", "part1/002: target emotion is 2, expected a class index below 2"),
        ("value", "part1/002: target valence is inf, expected a finite number"),
        ("bounds", r"part1/002: target valence is 1\.5, outside \[-1\.0, 1\.0\]"),
        ("missing", r"part1/002: targets are \['emotion'\], the dataset declares \['emotion', 'valence'\]"),
        ("key", r"sample a\.b: key 'a\.b': use letters"),
        ("subject", "part1/002: subject is 3, expected text"),
        ("time", r"part1/002: time is '3\.5', expected seconds"),
        ("meta", "part1/002: subject, video or meta cannot be stored: ndarray cannot be stored as JSON"),
        ("surrogate", "part1/002: subject, video or meta cannot be stored: 'utf-8' codec"),
        ("column", "part1/002: meta is .*, expected columns with names"),
        ("twice", "split test, part part1: key 'part1/001' comes twice"),
        ("raises", "^labels.csv: row 7 has no label\n  -> fix the row$"),
    ],
)
def test_an_invalid_sample_is_an_error_and_its_part_is_deleted(tmp_path, fault, message):
    with pytest.raises(DataError, match=message):
        prepare_toy(tmp_path, fault=fault)
    (folder,) = (path for path in (tmp_path / "shards").iterdir() if path.is_dir())
    finished = [("train", 0), ("train", 1), ("test", 0)]
    assert sorted(contents(folder)) == sorted(
        f"{split}/0000{n}{kind}" for split, n in finished for kind in ("-000.tar", "-000.tar.idx", ".json")
    )


def test_errors_of_worker_processes_are_raised_unchanged(tmp_path):
    with pytest.raises(DataError) as caught:
        prepare_toy(tmp_path, fault="raises", workers=2)
    assert caught.value.args == ("row 7 has no label", "labels.csv", "fix the row")
    assert type(caught.value) is DataError
    assert not [name for name in contents(tmp_path) if name.endswith((".partial", "dataset.json"))]
    with pytest.raises(KeyError, match="not a BlearError"):
        prepare_toy(tmp_path, fault="bug", workers=2)


def test_a_killed_worker_process_is_an_error_with_advice(tmp_path):
    (tmp_path / "kill").touch()
    with pytest.raises(
        DataError, match=r"toy/random, one of 2 worker processes: the process was killed.*\n.*fewer workers"
    ):
        prepare_toy(tmp_path, kill=str(tmp_path / "kill"), workers=2)


INTERRUPTED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from data_toy import prepare_toy
prepare_toy(Path(sys.argv[2]), log=sys.argv[3], fault="slow", workers=int(sys.argv[4]))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_after_ctrl_c_only_complete_parts_exist(tmp_path, workers):
    log = tmp_path / "log"
    command = [sys.executable, "-c", INTERRUPTED, str(Path(__file__).parent), str(tmp_path), str(log), str(workers)]
    run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    complete = sorted(
        f"{split}/0000{n}{kind}"
        for split, n in [("train", 0), ("train", 1), ("test", 0)]
        for kind in ("-000.tar", "-000.tar.idx", ".json")
    )
    begun = [*complete, "test/00001-000.tar.partial"]  # inside the slow sample, which takes a minute
    while not any(all((folder / name).is_file() for name in begun) for folder in tmp_path.glob("shards/*/")):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    _, said = run.communicate(timeout=100)
    assert run.returncode != 0
    assert said.endswith("KeyboardInterrupt\n")
    assert said.count("Traceback") == 1  # of this process alone, for which `blear` prints one line
    (folder,) = (path for path in (tmp_path / "shards").iterdir() if path.is_dir())
    assert sorted(contents(folder)) == complete


def test_an_interrupt_while_the_marker_is_written_leaves_no_file(tmp_path, monkeypatch):
    def interrupt(path):
        if path.name.startswith(".00000.json"):  # written, not renamed yet
            raise KeyboardInterrupt

    monkeypatch.setattr(durable, "_sync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_toy(tmp_path)
    (folder,) = (path for path in (tmp_path / "shards").iterdir() if path.is_dir())
    assert contents(folder) == {}


def test_what_a_killed_process_left_of_a_marker_is_deleted(tmp_path):
    prepared = prepare_toy(tmp_path)
    (prepared.folder / "dataset.json").unlink()
    prepared.shards("train")[0].unlink()
    left = prepared.folder / "train" / ".00000.json.1234.partial"
    left.touch()
    prepare_toy(tmp_path)
    assert not left.exists()


def test_an_interrupt_after_the_marker_was_written_keeps_the_part(tmp_path, monkeypatch):
    def interrupt(path):
        if path.is_dir() and (path / "00000.json").is_file():  # the last step of a part: the folder reaches the disk
            raise KeyboardInterrupt

    monkeypatch.setattr(durable, "_sync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_toy(tmp_path, log=str(tmp_path / "log"))
    (folder,) = (path for path in (tmp_path / "shards").iterdir() if path.is_dir())
    assert sorted(contents(folder)) == [f"train/00000{kind}" for kind in ("-000.tar", "-000.tar.idx", ".json")]
    monkeypatch.undo()
    prepare_toy(tmp_path, log=str(tmp_path / "log"))
    assert (tmp_path / "log").read_text().split() == ["train/part0", "train/part1", "test/part0", "test/part1"]


def test_an_empty_split_is_an_error(tmp_path):
    for _ in range(2):  # a re-run reads it again
        with pytest.raises(DataError, match="toy/random, split test: the split has no sample"):
            prepare_toy(tmp_path, fault="empty")
    with pytest.raises(DataError, match="split train: the split has no sample"):
        prepare_toy(tmp_path, parts=0)
    with pytest.raises(DataError, match=r"toy/random: the splits are \[\]"):
        prepare_toy(tmp_path, fault="no_splits")
    assert not list(tmp_path.rglob("dataset.json"))


def test_a_key_in_two_parts_is_an_error_and_the_parts_are_read_again(tmp_path):
    log = tmp_path / "log"
    for _ in range(2):
        with pytest.raises(DataError, match="split test: key 'part0/001' is in part part0 and in part part1"):
            prepare_toy(tmp_path, fault="twice_over_parts", log=str(log))
    read = log.read_text().split()
    assert [read.count(f"{split}/part{n}") for split in ("train", "test") for n in (0, 1)] == [1, 1, 2, 2]


def test_wrong_parameters_and_split_names_are_errors(tmp_path):
    with pytest.raises(PluginError, match=r"toy/random: kind: .*, got 'sounds'"):
        prepare_toy(tmp_path, kind="sounds")
    wrong = ComponentRef("dataset", "toy/radnom", {}, toy_ref(tmp_path).plugin_files)
    with pytest.raises(PluginError, match="there is no dataset 'toy/radnom'"):
        prepare_dataset(wrong, tmp_path / "shards", version="1")


def test_opening_a_missing_or_damaged_dataset_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no dataset\.json"):
        Prepared.open(tmp_path)
    prepared = prepare_toy(tmp_path)
    with pytest.raises(DataError, match="there is no split 'dev'\n  -> use one of: train, test"):
        prepared.count("dev")
    prepared.shards("train")[1].unlink()
    with pytest.raises(DataError, match=r"train/00001-000\.tar: the shard is missing"):
        prepared.shards("train")
    assert not prepared.complete()
    info = json.loads((prepared.folder / "dataset.json").read_text())
    (prepared.folder / "dataset.json").write_text(json.dumps({**info, "format": 99}))
    with pytest.raises(DataError, match="format 99, this blear reads 2"):
        Prepared.open(prepared.folder)
    (prepared.folder / "dataset.json").write_text('{"name": ')
    with pytest.raises(DataError, match=r"dataset\.json is damaged"):
        Prepared.open(prepared.folder)


def test_verify_finds_one_changed_bit(tmp_path, capsys):
    prepared = prepare_toy(tmp_path)
    prepared.verify()
    shard = prepared.shards("test")[1]
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"test/00001-000\.tar: the content has changed.*\n.*`blear prepare` again"):
        prepared.verify()


def test_progress_counts_the_parts_of_earlier_runs(tmp_path, monkeypatch):
    prepared = prepare_toy(tmp_path)
    prepared.shards("train")[0].unlink()
    (prepared.folder / "dataset.json").unlink()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    prepare_toy(tmp_path)
    assert "prepare toy/random: 4/4" in sys.stderr.getvalue()


@pytest.mark.ray
def test_ray_tasks_write_the_same_bytes(tmp_path, ray_here):
    for name in ("one", "ray"):
        (tmp_path / name).mkdir()
    log = tmp_path / "log"
    one = prepare_toy(tmp_path / "one", kind="clips", log=str(log))
    log.unlink()
    rayed = prepare_toy(tmp_path / "ray", kind="clips", log=str(log), use_ray=True)
    assert contents(one.folder) == contents(rayed.folder)
    assert sorted(log.read_text().split()) == ["test/part0", "test/part1", "train/part0", "train/part1"]


@pytest.mark.ray
def test_errors_of_ray_tasks_are_raised_unchanged(tmp_path, ray_here):
    with pytest.raises(DataError) as caught:
        prepare_toy(tmp_path, fault="raises", use_ray=True)
    assert type(caught.value) is DataError
    assert caught.value.args == ("row 7 has no label", "labels.csv", "fix the row")
    assert not [name for name in contents(tmp_path) if name.endswith((".partial", "dataset.json"))]


@pytest.mark.ray
def test_a_node_with_other_code_is_named(tmp_path, ray_here, monkeypatch):
    from blear.data.prepare import ray_tasks

    monkeypatch.setattr(ray_tasks, "code_digest", lambda: "0" * 64)
    with pytest.raises(PluginError, match="the code of blear differs from that where the job was started"):
        prepare_toy(tmp_path, use_ray=True)
    assert not [name for name in contents(tmp_path) if name.endswith((".tar", ".partial", "dataset.json"))]
