"""ONNX files with weights and activations of 8 bits (static quantization by onnxruntime)."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blear.errors import RunError
from blear.export.files import import_onnx, set_metadata

LARGEST_LOSS = 0.5
"""Accuracy that an int8 file may lose at any level, in points."""
METHODS = ("Entropy", "Percentile", "MinMax")
"""Choices of the ranges of activations, in the order in which they are tried."""
_CHUNK = 16


def quantize(file: Path, out: Path, frames_N: Sequence[np.ndarray], method: str) -> None:
    """Writes an int8 version of an ONNX file; weights have one scale for each output channel.

    Args:
        frames_N: inputs of the file, float32 [n, ...] each, from which the ranges of the activations are estimated.
        method: one of `METHODS`.

    Raises:
        RunError: onnx or onnxruntime is missing.
    """
    onnx = import_onnx(file)
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise RunError(f"{error.name} is not installed", "--int8", "pip install 'blear[onnx]'") from error
    properties = {one.key: one.value for one in onnx.load(file).metadata_props}
    name = onnx.load(file, load_external_data=False).graph.input[0].name
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # it prints its steps
        prepared = Path(folder) / "prepared.onnx"
        with contextlib.suppress(Exception):  # without it, activations between folded layers are quantized too
            quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared if prepared.is_file() else file),
            str(out),
            _Reader(name, frames_N),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod[method],
        )
    model = onnx.load(out)
    set_metadata(model, properties)
    onnx.save(model, out)


class _Reader:
    """The calibration inputs, as onnxruntime's `CalibrationDataReader`."""

    def __init__(self, name: str, frames_N: Sequence[np.ndarray]) -> None:
        self._name, self._frames = name, np.concatenate(frames_N)
        self._left = self._chunks()

    def get_next(self) -> dict[str, Any] | None:
        """The next inputs; None at the end."""
        return next(self._left, None)

    def rewind(self) -> None:
        """Starts again."""
        self._left = self._chunks()

    def _chunks(self) -> Iterator[dict[str, Any]]:
        size = min(_CHUNK, len(self._frames))  # histograms need inputs of one size
        for first in range(0, len(self._frames) - size + 1, size):
            yield {self._name: self._frames[first : first + size]}
