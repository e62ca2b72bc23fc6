"""Shared fixtures: the repository, the storage folder of a test, the `blear` command, one Ray cluster."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import io
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blear.cli import main
from blear.storage.run_log import stop_logging
from ray_head import QUICK, RayHead

REPOSITORY = Path(__file__).resolve().parents[1]

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in a background job of a shell; processes that tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in `make test`; processes that tests start inherit it
if "torch" in sys.modules:  # a plugin of pytest has imported it, and it has read the variable
    sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: on a busy machine workers would hardly run


HEAD_FILES = (
    "tests/strangers/test_strangers_package.py",
    "tests/platform/cluster/test_submit_ray.py",
    "tests/platform/pipeline/test_ray.py",
    "tests/systems/test_systems_ray.py",
)
"""Files whose tests share one Ray head; pytest-xdist gives all of them to one process."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `--dist loadfile`: a file is the unit of distribution, `HEAD_FILES` are one unit."""
    from xdist.scheduler import LoadFileScheduling

    class OneHead(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return HEAD_FILES[0] if file in HEAD_FILES else file

    return OneHead(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first, so that no process waits for the other one at the end.

    First the files that use the Ray head, then those that use Ray in the test's process, so that it is started once;
    tests of these files without Ray come before it starts.
    """
    names: dict[Path, set[str]] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()} & {"ray", "slow"}
        names.setdefault(item.path, set()).update(getattr(item, "fixturenames", ()), marks or {"quick"})
    _fixtures_of_files.update(names)
    files = list(names)
    for file in files:
        if "ray_head" in names[file] and file.relative_to(REPOSITORY).as_posix() not in HEAD_FILES:
            raise pytest.UsageError(f"{file} uses ray_head: list it in HEAD_FILES of tests/conftest.py")

    def position(item: pytest.Item) -> tuple[object, ...]:
        found = names[item.path]
        groups = [name in found for name in ("ray_head", "ray_here", "ray", "slow")]
        rank = groups.index(True) if any(groups) else len(groups)
        return rank, "quick" not in found, files.index(item.path), item.get_closest_marker("ray") is not None

    items.sort(key=position)


def pytest_collection_finish() -> None:
    """Excludes the objects of imported modules from all later garbage collections."""
    gc.collect()
    gc.freeze()


_GRACE_S = 60
_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the real stderr; tests have a captured one."""
    config.stash[_stderr] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """A test that blocks inside C code ends its process, with a traceback: its time limit, a signal, has no effect."""
    mark = item.get_closest_marker("timeout")
    limit = float(mark.args[0] if mark is not None else item.config.getoption("timeout"))
    if limit:
        faulthandler.dump_traceback_later(limit + _GRACE_S, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


_fixtures_of_files: dict[Path, set[str]] = {}
_stop_ray: dict[str, Callable[[], None]] = {}
"""Names of the Ray fixtures that run -> a function that ends them."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Ends Ray as soon as the next file does not use it: idle, it takes a fifth of two cores."""
    still_used = _fixtures_of_files[nextitem.path] if nextitem is not None else set()
    for name in _stop_ray.keys() - still_used:
        _stop_ray.pop(name)()


def pytest_sessionfinish() -> None:
    """Ends Ray after an interruption, too."""
    for name in list(_stop_ray):
        _stop_ray.pop(name)()


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(autouse=True)
def _log_of_each_test() -> Iterator[None]:
    """Ends the log that a command called in the test's process has started."""
    yield
    stop_logging()


@pytest.fixture(autouse=True)
def _scheduling_of_each_test() -> Iterator[None]:
    """No test makes its process a real-time one, as SVT-AV1 does: see `blear.video.open_encoder`."""
    yield
    assert os.sched_getscheduler(0) != os.SCHED_FIFO


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.addFilter(lambda record: record.name.startswith("blear"))

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def logged() -> Iterator[Callable[..., list[str]]]:
    """Messages that blear and its plugins have logged in the test: logged() -> warnings; logged(logging.INFO) -> more.

    Instead of pytest's `caplog`, whose plugin visits all loggers of all imported libraries six times for each test.
    """
    root, handler = logging.getLogger(), _Records()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lambda least=logging.WARNING: [each.getMessage() for each in handler.records if each.levelno >= least]
    root.setLevel(level)
    root.removeHandler(handler)


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


@pytest.fixture
def ray_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process as the driver of a Ray cluster that it started, with two CPUs. `blear` then starts no other one.

    The worker processes of one test are used by the next ones, so that torch is imported less often.
    """
    import ray

    for variable, value in QUICK.items():
        monkeypatch.setenv(variable, value)
    if "ray_here" not in _stop_ray:
        ray.init("local", num_cpus=2, include_dashboard=False, logging_level="warning", log_to_driver=False)
        _stop_ray["ray_here"] = ray.shutdown


@pytest.fixture(scope="session")
def ray_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Storage folder of the jobs of the Ray head."""
    return tmp_path_factory.mktemp("ray-storage")


@pytest.fixture(scope="session")
def ray_token() -> dict[str, str]:
    """Ray's token authentication, as the environment of the head and of those who submit."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


_heads: list[RayHead] = []


@pytest.fixture
def ray_head(tmp_path_factory: pytest.TempPathFactory, ray_storage: Path, ray_token: dict[str, str]) -> str:
    """A real Ray head on loopback, started in the checkout; gives the dashboard's address. Tests share it."""
    if "ray_head" not in _stop_ray:
        environment = {"BLEAR_STORAGE": str(ray_storage), **ray_token}
        _heads[:] = [RayHead(tmp_path_factory.mktemp("ray") / "head.log", REPOSITORY, environment)]
        _stop_ray["ray_head"] = _heads[0].stop
    return _heads[0].address


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
