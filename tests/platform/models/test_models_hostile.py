"""Damaged and hostile model files: an error that says what to do each, bounded memory, nothing executed.

BLEAR_FUZZ=N tries N damaged copies of each file.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from blear import cli
from blear.errors import BlearError, RunError
from blear.models.open_model import open_model
from blear.models.time_limit import SECONDS, TimeLimit, TimeLimitError, computation_left
from hostile_models import (
    LABELS,
    damaged,
    endless_onnx,
    endless_torch_export,
    growing_onnx,
    hostile_folders,
    hostile_onnx,
    hostile_torch_export,
    model_folder,
    onnx_model,
    torch_export_model,
)

COUNT = int(os.environ.get("BLEAR_FUZZ", "60"))
FACES = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
MEMORY = 1 << 20  # KiB: 1 GiB more than before
HARMLESS = ["no version", "no byteorder"]  # torch reads the file without them


@pytest.fixture
def memory() -> Iterable[None]:
    """The largest memory of the process grows by less than 1 GiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


def opened(file: Path) -> bool:
    """Whether a model can be used; every error is a `BlearError` that says what to do."""
    try:
        open_model(str(file))(FACES)
    except BlearError as error:
        return not (error.what and error.do)
    return True


@pytest.mark.parametrize("make", [onnx_model, torch_export_model, model_folder])
@pytest.mark.usefixtures("memory")
def test_damaged_files(make: Callable[[Path], Path], tmp_path: Path) -> None:
    valid = make(tmp_path)
    assert opened(valid)
    file = valid / "model.safetensors" if valid.is_dir() else valid
    count = COUNT // 6 if file.suffix == ".pt2" else COUNT  # slow to read
    refused = sum(not opened(one) for one in damaged(file, tmp_path, count, seed=0))
    assert refused > count / 2  # changed weights make another model


@pytest.mark.usefixtures("memory")
def test_hostile_onnx_files(tmp_path: Path) -> None:
    assert open_model(str(onnx_model(tmp_path))).labels == {"emotion": LABELS}
    assert [name for name, file in hostile_onnx(tmp_path) if opened(file)] == []


@pytest.mark.usefixtures("memory")
def test_hostile_files_of_torch_export(tmp_path: Path) -> None:
    valid = torch_export_model(tmp_path)
    assert [name for name, file in hostile_torch_export(valid, tmp_path) if opened(file)] == HARMLESS


@pytest.mark.usefixtures("memory")
def test_hostile_model_folders(tmp_path: Path) -> None:
    valid = model_folder(tmp_path)
    assert [name for name, file in hostile_folders(valid, tmp_path) if opened(file)] == []
    assert not list(tmp_path.rglob("touched"))


@pytest.mark.parametrize("make", [endless_onnx, endless_torch_export])
@pytest.mark.usefixtures("memory")
def test_networks_with_an_endless_loop(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make(tmp_path)
    monkeypatch.setenv(SECONDS, "0.3")
    threads = threading.active_count()
    with pytest.raises(TimeLimitError, match=r"one picture through the network takes more than 0\.3 s") as caught:
        open_model(str(file))
    assert (caught.value.where, SECONDS in caught.value.do) == (str(file), True)
    assert threading.active_count() == threads  # the loop has ended


def test_a_network_that_grows_while_it_is_read_ends_the_command(tmp_path: Path) -> None:
    (tmp_path / "face.png").touch()
    command = [sys.executable, "-m", "blear", "predict", str(growing_onnx(tmp_path)), str(tmp_path / "face.png")]
    ended = subprocess.run(
        [*command, "--out", str(tmp_path / "out.jsonl")], env={**os.environ, SECONDS: "0.5"}, stderr=subprocess.PIPE
    )
    assert (ended.returncode, b"growing.onnx: opening the file takes more than 0.5 s" in ended.stderr) == (2, True)


def test_a_batch_beyond_the_time_limit_is_an_error_and_the_next_one_is_computed(tmp_path: Path) -> None:
    model = open_model(str(endless_onnx(tmp_path, above=0.9)))
    expected = model(FACES)["emotion"]
    model.time_limit.seconds = 0.2
    with pytest.raises(TimeLimitError, match="a batch of 2 pictures through the network takes more"):
        model(np.full_like(FACES, 255))
    np.testing.assert_array_equal(model(FACES)["emotion"], expected)


def test_a_computation_that_cannot_be_stopped_refuses_the_next_ones() -> None:
    limit, event = TimeLimit("net"), threading.Event()
    limit.seconds = 0.05
    with pytest.raises(TimeLimitError, match=r"net: waiting takes more than 0\.05 s"):
        limit(event.wait, "waiting")
    with pytest.raises(TimeLimitError, match="an earlier computation exceeded the time limit and still runs"):
        limit(lambda: 1, "counting")
    event.set()
    while computation_left():
        time.sleep(0.01)
    assert limit(lambda: 1, "counting") == 1


def test_a_command_called_from_python_leaves_the_process_to_its_caller(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit, event = TimeLimit("net"), threading.Event()
    limit.seconds = 0.05
    with pytest.raises(TimeLimitError):
        limit(event.wait, "waiting")
    assert computation_left()
    monkeypatch.setattr(sys, "argv", ["blear", "--version"])
    cli.main()  # the command itself, `blear.__main__`, would end the process here
    assert "version" in capsys.readouterr().out
    event.set()
    while computation_left():
        time.sleep(0.01)


@pytest.mark.parametrize("given", ["-1", "nan", "ten"])
def test_time_limits_that_are_no_seconds(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS, given)
    with pytest.raises(RunError, match=f"{SECONDS}: '{given}' is no number of seconds"):
        TimeLimit("net")
