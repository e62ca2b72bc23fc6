"""Degradations and the stages of all jobs on fake CUDA tensors: finds tensors left on the CPU without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CUDNN = "CUDA driver version"  # nn.GRU and nn.LSTM ask the real driver for their kernels
HOST = ("aten.nonzero", "aten._unique2", "aten._local_scalar_dense")  # a shape or branch depends on values
DRIVER = ("Found no NVIDIA driver",)  # torch.tensor(..., device="cuda") inside kornia
CANNOT_BE_FAKED = {
    "corruptions/bsrgan": HOST,  # each of its steps selects the images that it applies to
    "kornia/RandomGaussianBlur": HOST,
    "kornia/RandomMotionBlur": HOST,
    "kornia/RandomRain": HOST,
    "kornia/RandomFisheye": DRIVER,
    "kornia/RandomJPEG": DRIVER,
    "kornia/RandomRotation": DRIVER,
    "kornia/RandomRotation90": DRIVER,
}


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
    for name, reason in found["failed"].items():
        reasons = CANNOT_BE_FAKED.get(name.split("[")[0], ())
        assert any(part in reason for part in reasons), f"{name}: {reason}"


def test_stages_of_all_jobs_run_on_the_device() -> None:
    found = outcome("stages")
    assert len(found["passed"]) > 80
    recurrent = {"fer_resnet_gru/" + name for name in ("resnet_gru", "resnet_gru_conv_drop", "resnet_gru_robust")}
    recurrent |= {"fer_vgg_gru/vgg_gru", "fer_vgg_lstm/vgg_gru", "fer_vgg_lstm/vgg_lstm"}
    # a codec among other degradations reads its draws, if a sample of the batch is chosen for it
    codecs = {name for name in found["failed"] if name.startswith(("robust_faces/", "robust_ablations/"))}
    codecs |= {"procedural_faces/robust"}
    assert set(found["failed"]) <= recurrent | codecs, found["failed"]
    for name, reason in found["failed"].items():
        assert any(part in reason for part in (HOST if name in codecs else (CUDNN,))), f"{name}: {reason}"
