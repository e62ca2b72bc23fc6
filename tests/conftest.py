"""Shared fixtures: the repository, the storage folder of a test, the `blear` command, one Ray cluster."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from blear.cli import main
from blear.storage.run_log import stop_logging
from ray_head import RayHead

REPOSITORY = Path(__file__).resolve().parents[1]

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in a background job of a shell; processes that tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in `make test`, before torch is imported
os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: on a busy machine workers would hardly run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first, those on Ray above all, so that no process waits for the other one at the end."""
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("ray", "slow")])


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
def blear(storage: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the `blear` command in this process: blear("run", "job.yaml") -> CompletedProcess.

    A process of its own takes 4 to 5 seconds to import torch and the platform, see `blear_process`.
    """

    def call(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        words = ["blear", *map(str, arguments)]
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(monkeypatch.context())
            patch.delenv("RAY_ADDRESS", raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.chdir(REPOSITORY)
            patch.setattr(sys, "argv", words)
            stack.callback(stop_logging)
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("default")  # as in a process of its own: a warning is no error
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            try:
                main()
                code: object = 0
            except SystemExit as ended:
                code = ended.code
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        return subprocess.CompletedProcess(words, int(code or 0), *texts)

    return call


@pytest.fixture
def blear_process(storage: Path):
    """Runs the real `blear` command in a process of its own, with the interface of `blear`."""

    def call(*arguments: object, timeout: float = 250, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("blear")), *map(str, arguments)]
        keep = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | environment
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=REPOSITORY, env=keep, check=False
        )

    return call


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """This process as the driver of a Ray cluster that it started, with two CPUs. `blear` then starts no other one.

    The worker processes of one test are used by the next ones, so that torch is imported less often.
    """
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="warning", log_to_driver=False)
    yield
    ray.shutdown()


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
    """A real Ray head on loopback, started in the checkout; gives the dashboard's address."""
    environment = {"BLEAR_STORAGE": str(ray_storage), "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1", **ray_token}
    head = RayHead(tmp_path_factory.mktemp("ray") / "head.log", REPOSITORY, environment)
    yield head.address
    head.stop()


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
