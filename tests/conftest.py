"""Shared fixtures: the repository, the storage folder of a test, the `blear` command, one Ray cluster."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blear.storage.run_log import stop_logging
from ports import free_port

REPOSITORY = Path(__file__).resolve().parents[1]

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in a background job of a shell; processes that tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: on a busy machine workers would hardly run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on Ray come first: they take longest, so that no worker waits for the other at the end."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(autouse=True)
def _log_of_each_test() -> Iterator[None]:
    """Ends the log that a command called in the test's process has started."""
    yield
    stop_logging()


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for runs and shards."""
    folder = tmp_path / "storage"
    monkeypatch.setenv("BLEAR_STORAGE", str(folder))
    return folder


@pytest.fixture
def blear(tmp_path: Path, storage: Path):
    """Runs the real `blear` command: blear("run", "job.yaml") -> CompletedProcess."""

    def call(*arguments: str, timeout: float = 250, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("blear")), *map(str, arguments)]
        keep = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"OMP_NUM_THREADS": "1"} | environment
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=REPOSITORY, env=keep, check=False
        )

    return call


@pytest.fixture(scope="session")
def ray_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Storage folder of the jobs of the Ray head."""
    return tmp_path_factory.mktemp("ray-storage")


@pytest.fixture(scope="session")
def ray_token() -> dict[str, str]:
    """Ray's token authentication, as the environment of the head and of those who submit."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@pytest.fixture(scope="session")
def ray_head(tmp_path_factory: pytest.TempPathFactory, ray_storage: Path, ray_token: dict[str, str]) -> Iterator[str]:
    """A real Ray head on loopback, started as its users do, in the checkout; gives the dashboard's address."""
    binaries = Path(sys.executable).parent
    log = tmp_path_factory.mktemp("ray") / "head.log"
    ray_temporary = tempfile.mkdtemp(prefix="ray-")  # short: paths of sockets have at most 107 bytes
    environment = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "BLEAR_STORAGE": str(ray_storage),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1",
        **ray_token,
    }
    port, dashboard = free_port(), free_port()
    arguments = ["start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=2"]
    arguments += [
        f"--dashboard-agent-listen-port={free_port()}",
        "--dashboard-host=127.0.0.1",
        "--node-ip-address=127.0.0.1",
        "--disable-usage-stats",
        # a temporary folder for each head: Ray's job supervisor finds its cluster by the address file in that folder
        f"--temp-dir={ray_temporary}",
    ]
    with log.open("w") as output:
        head = subprocess.Popen(
            [str(binaries / "ray"), *arguments], stdout=output, stderr=output, cwd=REPOSITORY, env=environment
        )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        for _ in range(120):
            probe = [str(binaries / "ray"), "job", "list", "--address", address]
            if subprocess.run(probe, capture_output=True, check=False, env=environment).returncode == 0:
                break
            if head.poll() is not None:
                pytest.fail(f"the Ray head ended:\n{log.read_text()}")
            time.sleep(1)
        else:
            pytest.fail(f"the Ray head did not answer:\n{log.read_text()}")
        yield address
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(ray_temporary, ignore_errors=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data; skips where there is none."""
    folder = Path(os.environ.get("BLEAR_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set BLEAR_DATA")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's command; skips where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found
