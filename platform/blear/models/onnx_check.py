"""Checks the places of an ONNX file's external data before onnxruntime opens them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from blear.errors import RunError
from blear.weights.protobuf import BYTES, ProtobufError, read_fields

# Field numbers of onnx.proto, by message: fields that hold tensors -> message of the field
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION = range(7)
_INNER = {
    _MODEL: {7: _GRAPH, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE},
}
_EXTERNAL_DATA, _KEY, _VALUE = 13, 1, 2
_DEEPEST = 64


def external_files(file: Path) -> list[Path]:
    """The files of external data of an ONNX file.

    Raises:
        RunError: the file is no ONNX file, or its external data are not regular files in its folder.
    """
    try:
        places = sorted(set(_places(np.memmap(file, np.uint8, "r").data, _MODEL, 0)))
    except (OSError, ValueError) as error:  # ProtobufError is a ValueError, so is that of an empty file
        raise RunError(f"cannot be read: {error}", str(file), "export it again") from error
    folder, found = file.resolve().parent, []
    for place in places:
        path = (folder / place).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            what = f"its external data {place[:200]!r} are no file in its folder"
            raise RunError(what, str(file), "copy them beside it, or save the network in one file")
        found.append(path)
    return found


def _places(data: memoryview, kind: int, depth: int) -> Iterator[str]:
    """Locations of external data in a message and the messages in it."""
    if depth > _DEEPEST:
        raise ProtobufError(f"graphs nested more than {_DEEPEST // 3} times")
    inner = _INNER.get(kind, {})
    for field in read_fields(data):
        if field.kind == BYTES and field.number in inner:
            yield from _places(field.bytes(), inner[field.number], depth + 1)
        elif kind == _TENSOR and field.number == _EXTERNAL_DATA:
            entry = {one.number: one.text() for one in read_fields(field.bytes()) if one.number in (_KEY, _VALUE)}
            if entry.get(_KEY) == "location":
                yield entry.get(_VALUE, "")
