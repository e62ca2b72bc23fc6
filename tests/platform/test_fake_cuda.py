"""Degradations and the stages of all jobs on fake CUDA tensors: finds tensors left on the CPU without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)

NONZERO = "DynamicOutputShapeException: aten.nonzero.default"
CUDNN = "CUDA driver version"  # nn.GRU and nn.LSTM ask the real driver for their kernels


def outcome(kind: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fake_cuda.py")), kind],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_degradations_run_on_the_device() -> None:
    found = outcome("degradations")
    assert len(found["passed"]) > 150
    # bsrgan picks the images of each of its steps
    assert {name.split("[")[0] for name in found["failed"]} == {"corruptions/bsrgan"}, found["failed"]
    assert all(NONZERO in reason for reason in found["failed"].values()), found["failed"]


def test_stages_of_all_jobs_run_on_the_device() -> None:
    found = outcome("stages")
    assert len(found["passed"]) > 80
    recurrent = {"fer_resnet_gru/" + name for name in ("resnet_gru", "resnet_gru_conv_drop", "resnet_gru_robust")}
    recurrent |= {"fer_vgg_gru/vgg_gru", "fer_vgg_lstm/vgg_gru", "fer_vgg_lstm/vgg_lstm"}
    assert set(found["failed"]) <= recurrent, found["failed"]
    assert all(CUDNN in reason for reason in found["failed"].values()), found["failed"]
