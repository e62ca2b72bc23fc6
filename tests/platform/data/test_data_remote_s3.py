"""Shards in a bucket of moto's S3 server on loopback."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest
from data_server import QUICK
from data_toy import prepare_toy

from blear.data.prepared import Prepared
from blear.errors import DataError
from blear.storage import remote as module
from blear.storage.remote import RetryPolicy
from ports import free_port

s3fs = pytest.importorskip("s3fs", reason="the extra blear[s3] is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a running moto server."""
    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    if not Path(command[0]).is_file():
        pytest.skip("moto[server] is not installed")
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        for _ in range(240):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.25)
        else:
            pytest.fail(f"moto did not answer:\n{log.read_text()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(autouse=True)
def environment(server, tmp_path, monkeypatch):
    """Credentials and endpoint in boto's environment variables, and an empty cache."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "BLEAR_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return prepare_toy(tmp_path_factory.mktemp("toy"), samples=40)


@pytest.fixture
def bucket(toy, server):
    """A bucket with the toy dataset below `sets/toy`."""
    files = fsspec.filesystem("s3")
    files.mkdir("shards")
    files.put(str(toy.folder), "shards/sets/toy", recursive=True)
    yield files
    files.rm("shards", recursive=True)


def test_a_dataset_in_a_bucket_equals_that_of_the_folder(toy, bucket):
    prepared = Prepared.open("s3://shards/sets/toy", retry=QUICK)
    assert prepared.info == toy.info
    for split in ("train", "test"):
        found = [path.read_bytes() for path in prepared.shards(split)]
        assert found == [path.read_bytes() for path in toy.shards(split)]
    assert prepared.verify() == 4
    assert len(list(prepared.folder.glob("*/[!.]*.idx"))) == 4


def test_ranged_blocks_join_to_the_whole_shard(toy, bucket, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 10_007)  # ten requests for a shard; eight MiB would be one
    shard = toy.split("train").shards[0]
    assert shard.bytes > 5 * 10_007
    path = Prepared.open("s3://shards/sets/toy", retry=QUICK).local(shard)
    assert path.read_bytes() == toy.local(shard).read_bytes()


def test_missing_truncated_and_wrong_objects_are_errors(toy, bucket):
    first, second = toy.split("train").shards
    data = toy.local(first).read_bytes()
    bucket.pipe(f"shards/sets/toy/{first.name}", data[:1000])
    bucket.rm(f"shards/sets/toy/{second.name}")
    prepared = Prepared.open("s3://shards/sets/toy", retry=QUICK)
    with pytest.raises(DataError, match=r"not read in 4 tries; the last: ") as caught:
        prepared.local(first)
    assert caught.value.where == f"s3://shards/sets/toy/{first.name}"
    with pytest.raises(DataError, match=r"00001-000\.tar: there is no such file"):
        prepared.local(second)
    bucket.pipe(f"shards/sets/toy/{first.name}", data[:-1] + b"x")
    with pytest.raises(DataError, match="wrong content: SHA-256"):
        prepared.local(first)
    bucket.pipe(f"shards/sets/toy/{first.name}", data)
    assert prepared.local(first).read_bytes() == data


def test_a_missing_bucket_is_an_error(bucket):
    with pytest.raises(DataError, match=r"no dataset\.json"):
        Prepared.open("s3://elsewhere/sets/toy", retry=QUICK)


def test_missing_credentials_are_not_retried(toy, bucket, monkeypatch, capsys):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match="credentials"):
        Prepared.open("s3://shards/sets/toy", retry=QUICK)
    assert "try 2" not in capsys.readouterr().err


def test_an_object_store_that_accepts_connections_and_sends_nothing(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(DataError, match="not read in 2 tries"):
            Prepared.open("s3://shards/sets/toy", retry=RetryPolicy(tries=2, initial_wait_s=0.01, timeout_s=0.3))


def test_a_cache_lost_while_reading_is_fetched_again(toy, bucket):
    prepared = Prepared.open("s3://shards/sets/toy", retry=QUICK)
    shard = toy.split("train").shards[0]
    first = prepared.local(shard).read_bytes()
    shutil.rmtree(prepared.folder)
    assert prepared.local(shard).read_bytes() == first
