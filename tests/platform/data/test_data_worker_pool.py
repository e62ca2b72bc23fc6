"""Worker processes write the same cache as a single process, also when a worker or the parent dies."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from data_toy import prepare_toy, toy_samples

from blear.data.decoded import shard_decoder, worker_pool
from blear.data.decoded.decode_task import DecodeTask
from blear.data.decoded.store import Store
from blear.data.shard.tar_index import build_index
from blear.errors import DataError

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: there are no workers")
ALONE = """
import os, sys
from pathlib import Path
import numpy as np
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
store = Store.open(Prepared.open(Path(sys.argv[1])), "train", Path(sys.argv[2]), max_broken=9)
store.take(np.arange(len(store)))
"""


@pytest.fixture
def workers_ready(monkeypatch):
    """Every split is large enough for workers, and the workers are ready."""
    monkeypatch.setattr(shard_decoder, "_LARGE_BYTES", 0)
    monkeypatch.setattr(worker_pool, "_pool_of_cores", worker_pool._pool_of_cores.__wrapped__)
    pool = worker_pool.DecodePool(2)
    monkeypatch.setattr(worker_pool, "_pool_of_cores", lambda cores: pool)
    worker_pool.start_workers()
    return list(worker_pool.handles)


@pytest.fixture
def only_workers(workers_ready, monkeypatch):
    """Decoding in this process is an error."""
    monkeypatch.setattr(DecodeTask, "run", None)
    monkeypatch.setattr("blear.data.shard.encoded_shard.EncodedShard.decode", None)
    return workers_ready


def truth(folder, **params):
    return np.stack([one.frames for one in toy_samples(folder, "train", **params)]).transpose(0, 1, 4, 2, 3)


def cached(folder):
    """File name -> bytes of all files of a cache."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".lock"}


def ends(pid):
    """Waits until a process has ended; a zombie process has ended."""
    for _ in range(6000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("kind", ["stills", "clips", "floats", "varied"])
def test_worker_processes_write_the_same_cache_as_one_process(tmp_path, only_workers, kind):
    prepared = prepare_toy(tmp_path, kind=kind, parts=3, samples=50)
    shard = prepared.shards("train")[1]
    data = bytearray(shard.read_bytes())
    for number in (3, 4, 49):
        offset, size = build_index(shard).members(number)["npy" if kind == "floats" else "png"]
        data[offset + size // 4 : offset + size // 2] = (
            bytes(size // 2 - size // 4) if kind != "floats" else b"\xff" * (size // 2 - size // 4)
        )
    shard.write_bytes(data)
    store = Store.open(prepared, "train", tmp_path / "workers_ready", max_broken=9)
    taken = store.take(np.arange(len(store)))
    assert np.flatnonzero(~taken.good_B).tolist() == [53, 54, 99]
    store.close()
    subprocess.run(
        [sys.executable, "-c", ALONE, str(prepared.folder), str(tmp_path / "alone")], check=True, timeout=100
    )
    assert len(cached(tmp_path / "workers_ready")) == 3
    assert cached(tmp_path / "workers_ready") == cached(tmp_path / "alone")


@pytest.mark.parametrize("kind", ["stills", "floats"])
def test_samples_without_a_cache(tmp_path, only_workers, monkeypatch, kind):
    monkeypatch.setattr("blear.data.decoded.sample_decoder._WORKER_BYTES", 100)
    prepared = prepare_toy(tmp_path, kind=kind, parts=2, samples=64)
    store = Store.open(prepared, "train", cache_gb=0)
    order = np.random.default_rng(0).permutation(len(store))
    for _ in range(2):
        assert np.array_equal(store.take(order).frames.numpy(), truth(tmp_path, kind=kind, parts=2, samples=64)[order])


def test_the_next_shards_are_prefetched(tmp_path, workers_ready):
    prepared = prepare_toy(tmp_path, parts=6, samples=50)
    store = Store.open(prepared, "train", tmp_path / "cache")
    store.take(np.array([0]))
    files = [tmp_path / "cache" / f"{store.layout.cache_name(shard)}.d4" for shard in store.shards]
    deadline = time.monotonic() + 60
    while not all(file.exists() for file in files[:3]) and time.monotonic() < deadline:
        time.sleep(0.01)
    store._open._prefetcher.close()  # waits for the shards that are being decoded
    # two shards when the first one's tasks are queued, two more at its end if the first two are decoded by then
    assert [file.exists() for file in files[:3]] == [True, True, True]
    assert not files[5].exists()
    assert np.array_equal(store.take(np.arange(len(store))).frames.numpy(), truth(tmp_path, parts=6, samples=50))


def test_batches_are_copied_while_a_shard_is_decoded():
    pool, may_end = worker_pool.DecodePool(2), threading.Event()
    busy = threading.Thread(target=pool.map, args=(lambda _: may_end.wait(60), range(8)))
    busy.start()
    copied = []
    pool.map_copies(copied.append, range(5))
    assert sorted(copied) == [0, 1, 2, 3, 4]
    assert busy.is_alive()
    may_end.set()
    busy.join()


def test_a_damaged_prefetched_shard_is_an_error_when_it_is_read(tmp_path, workers_ready):
    prepared = prepare_toy(tmp_path, parts=2, samples=50)
    os.truncate(prepared.shards("train")[1], 3000)
    store = Store.open(prepared, "train", tmp_path / "cache")
    assert len(store.take(np.arange(50)).frames) == 50
    with pytest.raises(DataError, match="the shard has 3000 bytes"):
        store.take(np.array([50]))


def test_a_worker_killed_during_a_task_loses_no_sample(tmp_path, workers_ready):
    prepared = prepare_toy(tmp_path, kind="clips", parts=2, samples=60)
    pids = [worker._process.pid for worker in workers_ready if worker._ready]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # so that it is in the middle of a task
    store = Store.open(prepared, "train", tmp_path / "cache")
    found = []
    taker = threading.Thread(target=lambda: found.append(store.take(np.arange(len(store))).frames.numpy()))
    taker.start()
    time.sleep(0.3)
    assert not found
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    taker.join(60)
    assert np.array_equal(found[0], truth(tmp_path, kind="clips", parts=2, samples=60))
    assert not [name for name in cached(tmp_path / "cache") if "partial" in name]
    assert np.array_equal(store.take(np.arange(len(store))).frames.numpy(), found[0])


PARENT = """
import os, sys, time
from pathlib import Path
import numpy as np
from blear.data.decoded import worker_pool
from blear.data.decoded import shard_decoder
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
shard_decoder._LARGE_BYTES = 0
worker_pool.start_workers()
print(*(worker._process.pid for worker in worker_pool.handles), flush=True)
prepared = Prepared.open(Path(sys.argv[1]))
mode = sys.argv[3]
if mode == "fork":
    child = os.fork()
    store = Store.open(prepared, "train", cache_gb=0)
    store.take(np.arange(len(store)))
    if not child:
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    assert all(worker._process.poll() is None for worker in worker_pool.handles)
    assert store.take(np.arange(len(store))).good_B.all()
while mode != "fork":
    store = Store.open(prepared, "train", Path(sys.argv[2]))
    store.take(np.arange(len(store)))
    store.close()
    for file in Path(sys.argv[2]).glob("*.d*"):
        file.unlink(missing_ok=True)
"""


def parent(tmp_path, mode):
    """A process that decodes with its workers again and again; (process, pids of the workers)."""
    prepared = prepare_toy(tmp_path, parts=2, samples=300)
    command = [sys.executable, "-c", PARENT, str(prepared.folder), str(tmp_path / "cache"), mode]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    return process, [int(pid) for pid in process.stdout.readline().split()]


def test_workers_die_with_their_parent(tmp_path):
    process, pids = parent(tmp_path, "loop")
    assert len(pids) > 1
    time.sleep(0.3)
    process.kill()
    assert all(ends(pid) for pid in pids)
    assert process.communicate(timeout=60)[1] == ""


def test_an_interrupt_reaches_the_parent_only(tmp_path):
    process, pids = parent(tmp_path, "loop")
    while not list(tmp_path.glob("cache/*.d4")):  # torch is imported by then
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    stderr = process.communicate(timeout=60)[1]
    assert stderr.count("KeyboardInterrupt\n") == 1
    assert stderr.endswith("\nKeyboardInterrupt\n")
    assert all(ends(pid) for pid in pids)
    # an empty temporary file may have just been opened; the next writer uses it
    assert not [file for file in tmp_path.glob("cache/*.partial") if file.stat().st_size]


def test_a_forked_child_leaves_the_workers_to_its_parent(tmp_path):
    process, pids = parent(tmp_path, "fork")
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", 0)
    assert all(ends(pid) for pid in pids)


def test_an_idle_worker_exits():
    code = "import sys; from blear.data.decoded import worker_process as it; it._IDLE_S = 0.1; it.main()"
    code += "; print('torch' in sys.modules)"
    mine, theirs = socket.socketpair()
    with mine, theirs:
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, stdin=theirs.fileno(), capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")
