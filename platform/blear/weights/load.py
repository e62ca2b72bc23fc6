"""A file of weights as tensors by name, whatever its format."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from blear.errors import DataError
from blear.weights.caffe import read_caffemodel
from blear.weights.found import Weights
from blear.weights.pickled import read_torch

Format = Literal["auto", "safetensors", "torch", "caffemodel"]

_ZIP, _PICKLE, _HDF5 = b"PK\x03\x04", b"\x80", b"\x89HDF"
_CAFFE_FIRST = (b"\x0a", b"\x12", b"\xa2\x06")  # the tags of NetParameter's name, layers (V1) and layer


def load(path: Path, format: Format = "auto") -> Weights:
    """The tensors of a file, on the CPU, by the file's own names.

    Args:
        path: a safetensors file; one of `torch.save` that holds tensors only; a caffemodel.
        format: what it is; auto: what its first bytes say.

    Raises:
        DataError: missing, damaged, of no known format, or it would have to be executed.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", str(path), "give a file of weights") from error
    if format == "auto":
        format = _format_of(path, start)
    if format == "caffemodel":
        return read_caffemodel(path)
    return read_torch(path) if format == "torch" else _read_safetensors(path)


def _format_of(path: Path, start: bytes) -> Format:
    if start.startswith(_HDF5):
        do = "load it where it was made, and save its tensors with safetensors or as a binary caffemodel"
        raise DataError("an HDF5 file, which is not read", str(path), do)
    if len(start) == 9 and start[8:] == b"{" and struct.unpack("<Q", start[:8])[0] <= path.stat().st_size:
        return "safetensors"
    if start.startswith((_ZIP, _PICKLE)):
        return "torch"
    if path.suffix == ".caffemodel" or start.startswith(_CAFFE_FIRST):
        return "caffemodel"
    do = "give a safetensors file, one of torch.save with tensors only, or a caffemodel; or name its `format`"
    raise DataError("neither safetensors, nor PyTorch's, nor a caffemodel", str(path), do)


def _read_safetensors(path: Path) -> Weights:
    found = Weights()
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118  it is no mapping
                found[name] = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise DataError(f"damaged, or no safetensors file: {error}", str(path), "fetch the file again") from error
    return found
