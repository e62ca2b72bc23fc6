import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from data_toy import prepare_toy, toy_samples

from blear.data.decoded.cache import ShardCache
from blear.data.decoded.cache_lock import CacheFileLock, LockFailure
from blear.data.decoded.store import Store

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def everything(store):
    return store.take(np.arange(len(store))).frames.numpy()


def truth(folder, split="train", **params):
    return np.stack([one.frames for one in toy_samples(folder, split, **params)]).transpose(0, 1, 4, 2, 3)


def files(folder):
    return sorted(file.name for file in folder.iterdir() if file.name != ".lock")


def entries(folder):
    return [name for name in files(folder) if ".d" in name]


def write(cache, name, size):
    lock = cache.lock(name, size)
    assert isinstance(lock, CacheFileLock)
    lock.commit()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def test_the_least_recently_used_entry_is_evicted_first(folder):
    cache = ShardCache(folder, [], budget=250)
    write(cache, A, 100)
    write(cache, B, 100)
    assert cache.find(A) == folder / f"{A}.d4"  # used now
    write(cache, C, 100)
    assert entries(folder) == [f"{A}.d4", f"{C}.d4"]
    assert cache.find(B) is None


def test_entries_of_an_open_store_are_never_evicted(folder):
    using = ShardCache(folder, [A, B], budget=250)
    write(using, A, 100)
    write(using, B, 100)
    other = ShardCache(folder, [C], budget=250)
    assert other.lock(C, 100) is LockFailure.NO_SPACE
    assert entries(folder) == [f"{A}.d4", f"{B}.d4"]
    using.close()
    write(other, C, 100)
    assert entries(folder) == [f"{B}.d4", f"{C}.d4"]
    other.close()
    assert files(folder) == [f"{B}.d4", f"{C}.d4"]  # no marker stays


def test_other_versions_are_evicted_first_and_unknown_files_are_kept(folder):
    cache = ShardCache(folder, [], budget=250)
    (folder / f"{A}.d4").write_bytes(bytes(100))
    for name in (f"{B}.d1", "notes.txt"):  # younger
        (folder / name).write_bytes(bytes(100))
    write(cache, C, 100)
    assert entries(folder) == [f"{A}.d4", f"{C}.d4"]
    assert (folder / "notes.txt").exists()


def test_a_writer_locks_its_entry_and_its_bytes_count(folder):
    first, second = ShardCache(folder, [], budget=250), ShardCache(folder, [], budget=250)
    lock = first.lock(A, 200)
    assert second.lock(A, 200) is LockFailure.LOCKED
    assert second.lock(B, 100) is LockFailure.NO_SPACE
    waited = []
    waiter = threading.Thread(target=lambda: waited.append(second.lock(A, 200, wait=True)))
    waiter.start()
    lock.commit()
    waiter.join(30)
    assert waited == [LockFailure.EXISTS]
    lock = first.lock(B, 50)
    waiter = threading.Thread(target=lambda: waited.append(second.lock(B, 50, wait=True)))
    waiter.start()
    lock.discard()
    waiter.join(30)
    assert isinstance(waited[1], CacheFileLock)  # its turn now
    waited[1].discard()
    assert entries(folder) == [f"{A}.d4"]


DIES = """
import os, sys
from pathlib import Path
from blear.data.decoded.cache import ShardCache
cache = ShardCache(Path(sys.argv[1]), ["b" * 32], budget=250)
cache.lock("b" * 32, 100).commit()
os.pwrite(cache.lock("a" * 32, 100).descriptor, b"half", 0)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_an_entry_that_cannot_be_flushed_leaves_no_file(folder, monkeypatch, error):
    """An interrupt while the disk is waited for, or an error of the disk."""
    cache = ShardCache(folder, [A], budget=250)
    lock = cache.lock(A, 100)

    def fail(descriptor):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(type(error)):
            lock.commit()
    assert not [*folder.glob(f"{A}*"), *folder.glob("*.partial")]
    lock = cache.lock(A, 100)
    lock.commit()
    assert [path.name.partition(".")[0] for path in folder.glob(f"{A}*")] == [A]


def test_files_of_a_killed_process_are_removed(folder):
    dead = subprocess.run([sys.executable, "-c", DIES, str(folder)], check=False, timeout=100)
    assert dead.returncode == -9
    left = files(folder)
    assert f"{A}.d4.partial" in left
    assert sum(name.endswith(".use") for name in left) == 1
    cache = ShardCache(folder, [], budget=250)
    write(cache, C, 200)  # needs the space of both
    assert entries(folder) == [f"{C}.d4"]
    assert sum(name.endswith(".use") for name in files(folder)) == 1  # the cache's own
    write(cache, A, 30)


def test_removing_files_of_dead_writers_never_removes_new_files(folder, monkeypatch):
    """Threads create files while others look for files of dead writers, at each lock."""
    monkeypatch.setattr("blear.data.decoded.cache._SCAN_INTERVAL_S", -1.0)
    end, errors = time.monotonic() + 2, []

    def work(number):
        cache = ShardCache(folder, [], 1 << 30)
        try:
            for turn in range(10**6):
                lock = cache.lock(f"{number:016x}{turn:016x}", 10, wait=True)
                lock.commit()
                lock.path.unlink()
                if time.monotonic() > end:
                    break
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_split_over_the_budget_is_cached_in_part(tmp_path):
    params = {"kind": "clips", "parts": 4, "samples": 20}
    prepared = prepare_toy(tmp_path, **params)
    one = 20 * (4 * 3 * 6 * 5 + 2 * 8)  # frames and labels of a shard
    store = Store.open(prepared, "train", tmp_path / "cache", cache_gb=2.5 * one / 1e9)
    expected = truth(tmp_path, **params)
    for _ in range(2):
        assert np.array_equal(everything(store), expected)
        kept = entries(tmp_path / "cache")
        assert len(kept) == 2
    other = Store.open(prepared, "test", tmp_path / "cache", cache_gb=2.5 * one / 1e9)
    assert np.array_equal(everything(other), truth(tmp_path, "test", **params))
    assert entries(tmp_path / "cache") == kept  # the open store's
    store.close()
    assert np.array_equal(everything(store), expected)  # works on
    third = Store.open(prepared, "test", tmp_path / "cache", cache_gb=2.5 * one / 1e9)
    assert np.array_equal(everything(third), truth(tmp_path, "test", **params))
    assert not set(entries(tmp_path / "cache")) & set(kept)


def test_a_deleted_store_uses_no_entries(tmp_path):
    prepared = prepare_toy(tmp_path)
    store = Store.open(prepared, "train")
    everything(store)
    cache = prepared.folder / "cache"
    assert sum(name.endswith(".use") for name in files(cache)) == 1
    del store
    assert sum(name.endswith(".use") for name in files(cache)) == 0


def test_the_cache_follows_the_digests_and_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "node"))
    prepared, other = prepare_toy(tmp_path), prepare_toy(tmp_path, seed=1)
    assert not np.array_equal(everything(Store.open(prepared, "train")), everything(Store.open(other, "train")))
    assert len(entries(tmp_path / "node" / "decoded")) == 4
    assert not (prepared.folder / "cache").exists()
    times = [file.stat().st_ino for file in sorted((tmp_path / "node" / "decoded").glob("*.d4"))]
    assert np.array_equal(everything(Store.open(prepared, "train")), truth(tmp_path))
    assert [file.stat().st_ino for file in sorted((tmp_path / "node" / "decoded").glob("*.d4"))] == times


def test_a_damaged_entry_is_decoded_again(tmp_path):
    prepared = prepare_toy(tmp_path)
    everything(Store.open(prepared, "train"))
    first, second = sorted((prepared.folder / "cache").glob("*.d4"))
    os.truncate(first, first.stat().st_size - 5)
    second.write_bytes(b"")
    assert np.array_equal(everything(Store.open(prepared, "train")), truth(tmp_path))
    assert first.stat().st_size == second.stat().st_size > 16


def test_without_a_writable_folder_samples_are_decoded_each_time(tmp_path, capfd):
    prepared = prepare_toy(tmp_path)
    (tmp_path / "file").write_text("")
    store = Store.open(prepared, "train", tmp_path / "file" / "cache")
    assert np.array_equal(everything(store), truth(tmp_path))
    assert np.array_equal(everything(store), truth(tmp_path))
    assert capfd.readouterr().err.count("file/cache: Not a directory; shards that are not decoded yet") == 1


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from blear.data.prepared import Prepared
from blear.data.decoded.store import Store
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store.open(Prepared.open(Path(sys.argv[1])), "train", Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for _ in range(2):
    sys.stdout.write(f"{int(store.take(np.arange(len(store))).frames.sum())} ")
"""


def test_a_full_disk_is_logged_once_and_loses_no_sample(tmp_path):
    """A file that may not grow fails like a full disk: ftruncate and write raise, the partial file is removed."""
    params = {"kind": "clips", "parts": 2, "samples": 60}
    prepared = prepare_toy(tmp_path, **params)
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", FULL, str(prepared.folder), str(cache)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    total = truth(tmp_path, **params).sum(dtype=np.int64)
    assert run.stdout.split() == [str(total)] * 2
    assert run.stderr.count("the disk is full; shards that are not decoded yet are decoded again") == 1
    assert files(cache) == []


OPEN = """
import sys, time
from pathlib import Path
import numpy as np
from blear.data.prepared import Prepared
from blear.data.decoded.store import Store
folder, ready, go = (Path(name) for name in sys.argv[1:])
store = Store.open(Prepared.open(folder), "train")
ready.touch()
while not go.exists():
    time.sleep(0.01)
order = np.random.default_rng(int(ready.name[-1])).permutation(len(store))
taken = store.take(order)
frames = np.empty_like(taken.frames.numpy())
frames[order] = taken.frames.numpy()
sys.stdout.write(str(hash(frames.tobytes())))
"""


def test_processes_may_read_at_once(tmp_path):
    params = {"kind": "clips", "parts": 5, "samples": 20}
    prepared = prepare_toy(tmp_path, **params)
    go, ready = tmp_path / "go", [tmp_path / f"ready{n}" for n in range(2)]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(prepared.folder), str(mine), str(go)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for mine in ready
    ]
    while not all(file.exists() for file in ready):
        assert all(process.poll() is None for process in processes)
    go.touch()
    answers = {process.communicate(timeout=200)[0] for process in processes}
    code = "import sys; from pathlib import Path; sys.stdout.write(str(hash(Path(sys.argv[1]).read_bytes())))"
    (tmp_path / "truth").write_bytes(truth(tmp_path, **params).tobytes())
    command = [sys.executable, "-c", code, str(tmp_path / "truth")]
    assert answers == {subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout}
    assert len(files(prepared.folder / "cache")) == 5  # no partial file, no marker


def test_threads_may_read_at_once(tmp_path):
    params = {"kind": "stills", "parts": 6, "samples": 30}
    prepared, expected = prepare_toy(tmp_path, **params), truth(tmp_path, **params)
    one = 30 * (30 + 2 * 8)
    store = Store.open(prepared, "train", tmp_path / "cache", cache_gb=3.5 * one / 1e9)
    wrong = []

    def take(seed):
        rng = np.random.default_rng(seed)
        for _ in range(30):
            samples = rng.integers(0, len(store), 16)
            if not np.array_equal(store.take(samples).frames.numpy(), expected[samples]):
                wrong.append(samples)

    threads = [threading.Thread(target=take, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert len(entries(tmp_path / "cache")) == 3


def test_more_shards_than_the_limit_of_open_files(tmp_path):
    """At most half of the process's limit of open files, but 64, are kept open; the others are opened again."""
    prepared = prepare_toy(tmp_path, parts=70, samples=1)
    store = Store.open(prepared, "train")
    expected = truth(tmp_path, parts=70, samples=1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    code = (
        "import resource, sys; from pathlib import Path; import numpy as np\n"
        "from blear.data.prepared import Prepared; from blear.data.decoded.store import Store\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (110, 110))\n"
        "for gb in (None, 0):\n"
        "    store = Store.open(Prepared.open(Path(sys.argv[1])), 'train', cache_gb=gb)\n"
        "    found = [store.take(np.array([n])).frames for n in (*range(70), *range(70))]\n"
        "    sys.stdout.write(f'{sum(int(one.sum()) for one in found)} ')"
    )
    run = [sys.executable, "-c", code, str(prepared.folder)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == [str(2 * int(expected.sum()))] * 2
    assert np.array_equal(everything(store), expected)
    del store
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
