"""An ONNX file with the inputs and outputs of YuNet: each white cell of 8 x 8 pixels is the centre of a face.

A face is a square of 24 pixels; its five points lie in its centre. The file is written without the package onnx.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

_FLOAT, _INT64 = 1, 7


def write_yunet(file: Path) -> Path:
    """Writes the network to `file`."""
    nodes, values, outputs = [], [], []
    for stride in (8, 16, 32):
        pool = _ints("kernel_shape", [stride, stride]) + _ints("strides", [stride, stride])
        nodes.append(_node("AveragePool", ["input"], f"mean_{stride}", pool))
        for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            out = f"{name}_{stride}"
            weight, bias = np.zeros((channels, 3, 1, 1), np.float32), np.zeros(channels, np.float32)
            if name in ("cls", "obj"):
                weight[:], bias[:] = (2.0, -3 * 2.0 * 240) if stride == 8 else (0.0, -9.0)
            elif name == "bbox":
                bias[:] = (0.5, 0.5, math.log(3), math.log(3))  # offset of the centre and log of the size, in strides
            else:
                bias[:] = 0.5
            values += [_tensor(f"{out}_w", weight), _tensor(f"{out}_b", bias)]
            values.append(_tensor(f"{out}_shape", np.array([1, -1, channels], np.int64)))
            nodes.append(_node("Conv", [f"mean_{stride}", f"{out}_w", f"{out}_b"], f"{out}_map"))
            nodes.append(_node("Transpose", [f"{out}_map"], f"{out}_rows", _ints("perm", [0, 2, 3, 1])))
            last = f"{out}_list" if channels == 1 else out
            nodes.append(_node("Reshape", [f"{out}_rows", f"{out}_shape"], last))
            if channels == 1:
                nodes.append(_node("Sigmoid", [last], out))
            outputs.append(_value(out, [1, 640 * 640 // stride**2, channels]))
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, b"yunet") + b"".join(_bytes(5, v) for v in values)
    graph += _bytes(11, _value("input", [1, 3, 640, 640])) + b"".join(_bytes(12, value) for value in outputs)
    file.write_bytes(_int(1, 7) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _int(2, 11)))
    return file


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _ints(name: str, values: list[int]) -> bytes:
    content = _bytes(1, name.encode()) + b"".join(_int(8, value) for value in values) + _int(20, 7)
    return _bytes(5, content)


def _node(kind: str, inputs: list[str], output: str, attributes: bytes = b"") -> bytes:
    named = b"".join(_bytes(1, name.encode()) for name in inputs) + _bytes(2, output.encode())
    return named + _bytes(3, f"{output}_node".encode()) + _bytes(4, kind.encode()) + attributes


def _tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(_int(1, side) for side in values.shape)
    kind = _int(2, _INT64 if values.dtype == np.int64 else _FLOAT)
    return dims + kind + _bytes(8, name.encode()) + _bytes(9, values.tobytes())


def _value(name: str, shape: list[int]) -> bytes:
    sides = b"".join(_bytes(1, _int(1, side)) for side in shape)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _int(1, _FLOAT) + _bytes(2, sides)))
