"""An S3 server behind a proxy that fails on request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blear.storage import run_mirror
from s3_proxy import Proxy, proxied


@pytest.fixture(scope="session")
def port() -> Iterator[int]:
    """Port of moto's S3 server."""
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def proxy(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the S3 server, whose only bucket is empty."""
    s3fs = pytest.importorskip("s3fs", reason="the extra blear[s3] is not installed")
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
