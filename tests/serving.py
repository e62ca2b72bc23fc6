"""A `blear serve` process for the tests, and requests to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import numpy as np

import blear
from blear.models.calibration import calibrated


def expected_probabilities(model: blear.Model, images: np.ndarray, face: dict[str, Any]) -> np.ndarray:
    """Probabilities [7] of a cut face, with the temperature of the model's card if it has any."""
    probabilities: np.ndarray = model(images)["emotion"][0].numpy()
    calibration = model.card.calibration.get("emotion")
    if calibration is None:
        return probabilities
    return calibrated(probabilities, calibration.temperature(face["face_px"], face["degradation"]))


class Server:
    """A started server; `token` is that of its address."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "blear", "serve", "--port", "0", *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.match(r"http://\S+?:(\d+)/(?:\?token=(\S+))?", line)
        assert found, line + (self._process.stdout.read() if self._process.poll() is not None else "")
        self.address, self.token = f"http://127.0.0.1:{found[1]}", found[2]

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def stop(self) -> str:
        """Ends it; returns what it printed."""
        self._process.terminate()
        printed, _ = self._process.communicate(timeout=30)
        return printed


def call(
    address: str, data: bytes | None = None, headers: dict[str, str] | None = None, **query: Any
) -> tuple[int, Any]:
    """Status and JSON of a request; POST where there are data."""
    text = urllib.parse.urlencode(query, doseq=True)
    request = urllib.request.Request(f"{address}?{text}" if text else address, data, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
