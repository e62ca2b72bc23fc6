"""Reads a weight file of any supported format."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from blear.errors import DataError
from blear.weights.caffe import read_caffemodel
from blear.weights.state_dict import StateDict
from blear.weights.torch_file import read_torch

Format = Literal["auto", "safetensors", "torch", "caffemodel"]

_ZIP, _PICKLE, _HDF5 = b"PK\x03\x04", b"\x80", b"\x89HDF"
_CAFFE_FIRST = (b"\x0a", b"\x12", b"\xa2\x06")  # protobuf tags of NetParameter's name, layers (V1) and layer


def read_weights(path: Path, format: Format = "auto") -> StateDict:
    """Reads the tensors of a file onto the CPU, under the names of the file.

    No code in the file is executed.

    Args:
        path: a safetensors file, a file of `torch.save` that holds tensors only, or a caffemodel.
        format: the format of the file; auto: detected from its first bytes.

    Raises:
        DataError: the file is missing, damaged, of an unknown format, or holds objects other than tensors.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", str(path), "give a file of weights") from error
    if format == "auto":
        format = _detect_format(path, start)
    if format == "caffemodel":
        return read_caffemodel(path)
    return read_torch(path) if format == "torch" else _read_safetensors(path)


def _detect_format(path: Path, start: bytes) -> Format:
    """The format of a file.

    Args:
        start: its first 9 bytes. A safetensors file has the length of its header in 8 bytes, then a brace.
    """
    if start.startswith(_HDF5):
        do = "load it with the library that wrote it, and save its tensors with safetensors or as a binary caffemodel"
        raise DataError("HDF5 files are not supported", str(path), do)
    if len(start) == 9 and start[8:] == b"{" and struct.unpack("<Q", start[:8])[0] <= path.stat().st_size:
        return "safetensors"
    if start.startswith((_ZIP, _PICKLE)):
        return "torch"
    if path.suffix == ".caffemodel" or start.startswith(_CAFFE_FIRST):
        return "caffemodel"
    do = "give a safetensors file, one of torch.save with tensors only, or a caffemodel; or name its `format`"
    raise DataError("neither safetensors, nor PyTorch's, nor a caffemodel", str(path), do)


def _read_safetensors(path: Path) -> StateDict:
    weights = StateDict()
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118  safe_open is not iterable
                weights[name] = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise DataError(f"damaged, or no safetensors file: {error}", str(path), "fetch the file again") from error
    return weights
