"""More shards than the process may open: one budget for all stores; a full table of descriptors is no damage."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_toy import prepare_toy

from blear.contracts import ClipSpec, Sample, Target
from blear.data.dataset_info import DatasetInfo, Layout, SplitInfo
from blear.data.decoded.store import Store
from blear.data.shard.sample_codec import encode_sample
from blear.data.shard.writer import ShardWriter

SHARDS = 2000
READ = """
import os, resource, sys
from pathlib import Path
import numpy as np
os.fsync = lambda descriptor: None  # 2,000 small files: only speed
soft, hard = map(int, sys.argv[3:5])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
folder, cache = Path(sys.argv[1]), Path(sys.argv[2])
prepared = Prepared.open(folder)
n = prepared.count("train")
stores = [Store.open(prepared, "train", cache) for _ in range(2)]
for store in stores:  # in blocks, then a batch of a sample of every shard
    for first in range(0, n, 500):
        store.take(np.arange(first, min(first + 500, n)))
    good = store.take(np.arange(0, n, 2)).good_B
    assert good.all()
uncached = Store.open(prepared, "train", cache, cache_gb=0)
assert uncached.take(np.arange(0, n, 2)).good_B.all()
print(len(list(cache.glob("*.d4"))), len(os.listdir("/proc/self/fd")), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """2,000 shards of two samples with clean clips."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "train").mkdir()
    rng, infos, fsync = np.random.default_rng(0), [], os.fsync
    os.fsync = lambda descriptor: None  # only speed
    try:
        for number in range(SHARDS):
            name = f"train/{number:05d}-000.tar"
            with ShardWriter(folder / name) as writer:
                for n in range(2):
                    frames = rng.integers(0, 255, (1, 4, 4, 1), dtype=np.uint8)
                    sample = Sample(f"s{number:04d}_{n}", frames, {"v": 0.5}, frames)
                    writer.add(sample.key, encode_sample(sample))
                infos.append(writer.close(name))
    finally:
        os.fsync = fsync
    split = SplitInfo(layout=Layout.of(sample), shards=tuple(infos), class_counts={})
    facts = {"name": "x/y", "version": "1", "blear": "1", "seed": 0, "params": {}, "terms": "t"}
    info = DatasetInfo(**facts, clip=ClipSpec(1, 1, 4, 4), targets=(Target("v", "value"),), splits={"train": split})
    (folder / "dataset.json").write_text(info.model_dump_json())
    return folder


def test_two_thousand_shards_under_a_hard_limit_of_1024(many, tmp_path):
    """Two maps for each shard needed 4,000 descriptors; good cache files were deleted when there were none left."""
    run = [sys.executable, "-c", READ, str(many), str(tmp_path / "cache"), "1024", "1024"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    cached, descriptors, limit = map(int, done.stdout.split())
    assert cached == SHARDS
    assert descriptors < 700
    assert limit == 1024


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 8192, reason="a hard limit below 8,192")
def test_the_soft_limit_is_raised(tmp_path):
    prepared = prepare_toy(tmp_path, samples=2)
    run = [sys.executable, "-c", READ, str(prepared.folder), str(tmp_path / "cache"), "256", "8192"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split()[2] == "8192"


FULL = """
import os, resource, sys
from pathlib import Path
import numpy as np
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
from blear.data.decoded.open_files import TooManyOpenFiles
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
prepared = Prepared.open(Path(sys.argv[1]))
warm = Store.open(prepared, "test", cache_gb=0)
warm.take(np.arange(4))  # imports and starts all that is needed
warm._open.close_files()
store = Store.open(prepared, "train", max_broken=2)
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
try:
    store.take(np.arange(4))
    print("no error")
except TooManyOpenFiles as error:
    print(error.do)
for one in taken:
    os.close(one)
print(store.broken, store.take(np.arange(4)).good_B.tolist())
"""


def test_a_full_table_of_descriptors_is_told_from_damage(tmp_path):
    prepared = prepare_toy(tmp_path, samples=2)
    Store.open(prepared, "train").take(np.arange(4))
    files = {file.name: file.stat().st_ino for file in (prepared.folder / "cache").glob("*.d4")}
    assert len(files) == 2
    run = [sys.executable, "-c", FULL, str(prepared.folder)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = done.stdout.splitlines()
    assert "ulimit -n" in first
    assert second == "[] [True, True, True, True]"
    assert {file.name: file.stat().st_ino for file in (prepared.folder / "cache").glob("*.d4")} == files


def test_the_shards_of_a_store_are_closed_with_it(tmp_path):
    prepared = prepare_toy(tmp_path, samples=2)
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = Store.open(prepared, "train")
    store.take(np.arange(4))
    del store
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
