"""Shards of a real HTTP server on loopback, with injected faults."""

import hashlib
import json
import multiprocessing
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from data_server import PIECE, QUICK, Faults, serve
from data_toy import prepare_toy

from blear.data import mirror
from blear.data.prepared import Prepared
from blear.errors import DataError
from blear.storage.remote import RemoteFolder, RetryPolicy


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Two splits of two shards of 40 samples."""
    return prepare_toy(tmp_path_factory.mktemp("toy"), samples=40)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of remote shards."""
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "remote"


def fetched(url, split="train"):
    """Contents of the local copies of the shards of a split."""
    prepared = Prepared.open(url, retry=QUICK)
    return [path.read_bytes() for path in prepared.shards(split)]


def truth(toy, split="train"):
    return [path.read_bytes() for path in toy.shards(split)]


def leftovers(cache):
    return [file.name for file in cache.rglob("*.partial")]


def test_a_dataset_at_a_url_equals_that_of_the_folder(toy, cache):
    with serve(toy.folder) as (url, seen):
        prepared = Prepared.open(url + "/", retry=QUICK)
        assert prepared.info == toy.info
        assert prepared.place == url
        assert prepared.count("train") == 80
        assert seen.count() == 0  # opening reads no shard
        assert fetched(url) == truth(toy)
        assert fetched(url, "test") == truth(toy, "test")
        assert seen.count() == 4
        assert fetched(url) == truth(toy)
        assert seen.count() == 4  # kept
    assert [file.name for file in sorted(cache.glob("*/train/[!.]*"))] == [
        "00000-000.tar",
        "00000-000.tar.idx",
        "00001-000.tar",
        "00001-000.tar.idx",
    ]
    assert leftovers(cache) == []


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 500},
        {"status": 429},
        {"cut_at": 0},
        {"cut_at": 5000},
        {"stall_at": 3000},
        {"wrong": True},
        {"longer": 700},
    ],
    ids=str,
)
def test_temporary_failures_are_retried(toy, cache, fault, ranges, capsys):
    with serve(toy.folder, Faults(times=2, ranges=ranges, **fault)) as (url, seen):
        assert fetched(url) == truth(toy)
        assert seen.count() == 6
    assert "try 2 of 4 in" in capsys.readouterr().err
    assert leftovers(cache) == []


def test_a_retry_continues_a_broken_transfer(toy):
    shard = toy.split("train").shards[0]
    with serve(toy.folder, Faults(times=2, stall_at=5000)) as (url, seen):
        found = Prepared.open(url, retry=QUICK).local(shard).read_bytes()
        ranges = [wanted for path, wanted in seen.requests if path.endswith(shard.name)]
    assert found == truth(toy)[0]
    assert ranges == ["", "bytes=5000-", "bytes=10000-"]


def test_a_slow_server_does_not_time_out(toy):
    """Six pieces, a fifth of the timeout apart: longer than the timeout in total."""
    retry = RetryPolicy(tries=1, timeout_s=2.5)
    with serve(toy.folder, Faults(times=9, slow_s=0.5)) as (url, _):
        prepared = Prepared.open(url, retry=retry)
        shard = prepared.split("train").shards[0]
        assert shard.bytes > 4 * PIECE
        assert prepared.local(shard).read_bytes() == truth(toy)[0]


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"status": 503}, "the server returned status 503"),
        ({"cut_at": 100, "ranges": False}, "the connection was closed early"),
        ({"stall_at": 10}, "the server sent nothing within the timeout"),
        ({"wrong": True}, "wrong content: SHA-256"),
        ({"longer": 700}, "bytes received, the size in dataset.json"),
    ],
    ids=str,
)
def test_permanent_failures_end_in_one_error(toy, cache, fault, cause):
    with serve(toy.folder, Faults(times=99, **fault)) as (url, seen):
        with pytest.raises(DataError) as caught:
            fetched(url)
        assert caught.value.where == f"{url}/train/00000-000.tar"
        assert caught.value.what.startswith("not read in 4 tries; the last: ")
        assert cause in caught.value.what
        assert seen.count() == 4
    assert list(cache.rglob("*.tar")) == []
    assert leftovers(cache) == []


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_permanent_status_is_not_retried(toy, status):
    with serve(toy.folder, Faults(times=99, status=status)) as (url, seen):
        with pytest.raises(DataError, match=r"00000-000\.tar: .*(no such file|status 4)"):
            fetched(url)
        assert seen.count() == 1


def test_a_refused_connection(toy):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(DataError, match="not read in 4 tries") as caught:
            Prepared.open(url, retry=QUICK)
    assert caught.value.where == f"{url}/dataset.json"


def test_a_server_that_accepts_connections_and_sends_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DataError, match="the last: the server sent nothing within the timeout"):
            Prepared.open(url, retry=RetryPolicy(tries=2, initial_wait_s=0.01, timeout_s=0.3))


def test_a_folder_without_dataset_json(tmp_path):
    with (
        serve(tmp_path) as (url, _),
        pytest.raises(DataError, match=r"not a complete prepared dataset: no dataset\.json"),
    ):
        Prepared.open(url, retry=QUICK)


def test_a_missing_or_foreign_index_is_built_from_the_shard(toy, tmp_path, cache):
    """Also a valid index of another shard, which its own digest does not reveal."""
    from blear.data.shard.archive import load_index

    served = tmp_path / "served"
    shutil.copytree(toy.folder, served)
    first, second = sorted((served / "train").glob("*.tar.idx"))
    first.unlink()
    second.write_bytes(b"no index at all")
    expected = [load_index(path).keys for path in toy.shards("train")]
    with serve(served) as (url, _):
        prepared = Prepared.open(url, retry=QUICK)
        assert [load_index(path).keys for path in prepared.shards("train")] == expected


def _fetch_all(url, cache):
    import os

    os.environ["BLEAR_CACHE"] = cache
    return [hashlib.sha256(data).hexdigest() for data in fetched(url)]


def test_one_process_of_a_node_downloads_a_shard(toy, cache):
    digests = [shard.sha256 for shard in toy.split("train").shards]
    with serve(toy.folder) as (url, seen):
        prepared = Prepared.open(url, retry=QUICK)
        shards = [*toy.split("train").shards, *toy.split("test").shards]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(prepared.local, shards * 4))
        assert seen.count() == 4
        shutil.rmtree(cache)
        with multiprocessing.get_context("spawn").Pool(3) as pool:
            found = pool.starmap(_fetch_all, [(url, str(cache.parent))] * 3)
        assert found == [digests] * 3
        assert seen.count() == 6


def test_least_recently_used_shards_are_evicted_and_the_newest_stays(toy, cache, monkeypatch):
    shards = [*toy.split("train").shards, *toy.split("test").shards]
    size = shards[0].bytes + (toy.folder / f"{shards[0].name}.idx").stat().st_size
    monkeypatch.setenv("BLEAR_REMOTE_GB", str(2.5 * size / 1e9))
    with serve(toy.folder) as (url, seen):
        remote = RemoteFolder.parse(url, QUICK)
        kept = mirror.Mirror(remote, cache, cache / "toy", grace_s=0)

        def present():
            return [shard.name for shard in shards if (cache / "toy" / shard.name).is_file()]

        kept.local(shards[0])
        kept.local(shards[1])
        kept.local(shards[0])
        kept.local(shards[2])
        assert present() == [shards[0].name, shards[2].name]
        assert not (cache / "toy" / f"{shards[1].name}.idx").exists()
        assert kept.local(shards[1]).read_bytes() == truth(toy)[1]  # fetched again
        assert seen.count() == 4
        monkeypatch.setenv("BLEAR_REMOTE_GB", "0")
        assert kept.local(shards[3]).is_file()
        assert present() == [shards[3].name]
        handed_out = mirror.Mirror(remote, cache, cache / "toy")  # what others may be opening just now stays
        handed_out.local(shards[0])
        assert present() == [shards[0].name, shards[3].name]


def test_a_cache_budget_that_is_not_a_number_is_an_error(toy, monkeypatch):
    monkeypatch.setenv("BLEAR_REMOTE_GB", "lots")
    with serve(toy.folder) as (url, _), pytest.raises(DataError, match="BLEAR_REMOTE_GB: 'lots' is not a number"):
        fetched(url)


def test_a_cache_that_is_not_writable_is_an_error(toy, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "file"))
    with serve(toy.folder) as (url, _), pytest.raises(DataError, match=r"cannot be written.*\n.*set BLEAR_CACHE"):
        fetched(url)


@pytest.mark.parametrize(
    "name", ["../../outside.tar", "/tmp/outside.tar", "train/../../outside.tar", "train/..", "a\\..\\b", "", "a\0b"]
)
def test_shard_names_that_lead_out_of_the_cache_are_refused(toy, tmp_path, cache, name):
    served = tmp_path / "served"
    served.mkdir()
    facts = json.loads((toy.folder / "dataset.json").read_text())
    facts["splits"]["train"]["shards"][0]["name"] = name
    (served / "dataset.json").write_text(json.dumps(facts))
    with serve(served) as (url, seen), pytest.raises(DataError, match="leads out of the dataset's folder"):
        Prepared.open(url, retry=QUICK)
    assert seen.count() == 0
    assert not cache.exists()


def test_a_dataset_name_cannot_lead_out_of_the_cache(toy, tmp_path, cache):
    served = tmp_path / "served"
    shutil.copytree(toy.folder, served)
    facts = json.loads((served / "dataset.json").read_text())
    facts["name"] = "../../../outside"
    (served / "dataset.json").write_text(json.dumps(facts))
    with serve(served) as (url, _):
        prepared = Prepared.open(url, retry=QUICK)
        assert prepared.folder.parent == cache
        assert cache in prepared.shards("train")[0].parents


def test_verify_of_a_url_reads_the_server_not_the_cache(toy, tmp_path, cache):
    served = tmp_path / "served"
    shutil.copytree(toy.folder, served)
    with serve(served) as (url, _):
        prepared = Prepared.open(url, retry=QUICK)
        assert prepared.shards("train")[0].is_file()
        assert prepared.verify() == 4
        shard = served / "train" / "00000-000.tar"
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
        (served / "test" / "00001-000.tar").unlink()
        with pytest.raises(DataError, match="2 of 4 shards are wrong:") as caught:
            prepared.verify()
        assert f"{url}/train/00000-000.tar: not read in 4 tries; the last: wrong content" in caught.value.what
        assert f"{url}/test/00001-000.tar: there is no such file" in caught.value.what


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://host/shards", "cannot read ftp:// URLs"),
        ("memory://shards", "cannot read memory:// URLs"),
        ("simplecache::http://host/shards", "cannot read simplecache::http:// URLs"),
        ("http://", "not the URL of a folder"),
        ("http://[::1/shards", "not the URL of a folder"),
        ("http://host:port/shards", "not the URL of a folder"),
        ("http://host/shards?key=1", "not the URL of a folder"),
        ("s3:///shards", "not the URL of a folder"),
    ],
)
def test_malformed_and_unsupported_urls_are_errors(url, problem):
    with pytest.raises(DataError) as caught:
        Prepared.open(url)
    assert caught.value.what == problem


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(DataError, match="holds a user or a password") as caught:
        Prepared.open("https://ann:secret@host/shards")
    assert "secret" not in str(caught.value)
