"""Writes weight files byte by byte: Caffe's caffemodel, and PyTorch 0.3 and 1.3 under Python 2."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

Tensors = dict[str, np.ndarray]
Layers = Sequence[tuple[str, str, Sequence[np.ndarray]]]


def caffemodel(path: Path, layers: Layers) -> None:
    """Writes a NetParameter with LayerParameters (field 100): name, type, blobs with packed floats and a shape."""
    path.write_bytes(_bytes(1, b"net") + b"".join(_bytes(100, _layer(*layer)) for layer in layers))


def v1_caffemodel(path: Path, layers: Layers) -> None:
    """Writes the format of 2014 (VGG_FACE.caffemodel): V1LayerParameter, shapes as num, channels, height, width."""
    kinds = {"Convolution": 4, "InnerProduct": 14}
    found = []
    for name, kind, blobs in layers:
        body = _bytes(4, name.encode()) + _number(5, kinds[kind])
        found.append(body + b"".join(_bytes(6, _legacy_blob(value)) for value in blobs))
    path.write_bytes(_bytes(1, b"net") + b"".join(_bytes(2, layer) for layer in found))


def _layer(name: str, kind: str, blobs: Sequence[np.ndarray]) -> bytes:
    body = _bytes(1, name.encode()) + _bytes(2, kind.encode())
    for value in blobs:
        shape = _bytes(7, _bytes(1, b"".join(map(_varint, value.shape))))
        body += _bytes(7, _bytes(5, value.astype("<f4").tobytes()) + shape)
    return body


def _legacy_blob(value: np.ndarray) -> bytes:
    shape = (1,) * (4 - value.ndim) + value.shape
    return b"".join(_number(n, size) for n, size in enumerate(shape, 1)) + _bytes(5, value.astype("<f4").tobytes())


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


# PyTorch before 1.6, under Python 2: pickles of protocol 2, then the storages


def torch_0_3(path: Path, tensors: Tensors) -> None:
    """Writes `torch.save(model.state_dict(), path)` of PyTorch 0.3 and Python 2.7, from a GPU."""
    path.write_bytes(
        _legacy_torch(_ordered(_tensor(k, v, b"_rebuild_tensor", b")") for k, v in _keyed(tensors)), tensors)
    )


def torch_1_3(path: Path, tensors: Tensors) -> None:
    """Writes VTT's checkpoint: step, logdt, model_state_dict (with its metadata) and optim_state_dict."""
    more = b"\x89ccollections\nOrderedDict\n)Rt"  # requires_grad, no hooks
    state = _ordered(_tensor(k, v, b"_rebuild_tensor_v2", more, closed=True) for k, v in _keyed(tensors))
    state += (
        b"}" + _text("_metadata") + _ordered([b"](" + _text("") + b"}" + _text("version") + b"K\x01s" + b"e"]) + b"sb"
    )
    optim = b"}(" + _text("state") + b"}" + _text("param_groups") + b"]u"
    content = b"}(" + _text("step") + b"J" + struct.pack("<i", 110000) + _text("logdt") + _text("11-20-08-15")
    content += _text("model_state_dict") + state + _text("optim_state_dict") + optim + b"u"
    path.write_bytes(_legacy_torch(content, tensors))


def _keyed(tensors: Tensors) -> list[tuple[str, tuple[str, np.ndarray]]]:
    return [(str(94000000000 + 64 * n), item) for n, item in enumerate(tensors.items())]


def _legacy_torch(content: bytes, tensors: Tensors) -> bytes:
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    sizes = b"}(" + b"".join(_text(k) + bytes([75, n]) for k, n in (("int", 4), ("short", 2), ("long", 4))) + b"u"
    info = _text("protocol_version") + b"M\xe9\x03" + _text("little_endian") + b"\x88" + _text("type_sizes") + sizes
    keys = [key for key, _ in _keyed(tensors)]
    data = magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}(" + info + b"u." + b"\x80\x02" + content + b"."
    data += b"\x80\x02](" + b"".join(map(_text, sorted(keys))) + b"e."
    values = {key: value for key, (_, value) in _keyed(tensors)}
    return data + b"".join(struct.pack("<q", values[key].size) + values[key].tobytes() for key in sorted(keys))


def _text(text: str) -> bytes:
    """A str of Python 2: SHORT_BINSTRING."""
    return b"U" + bytes([len(text)]) + text.encode()


def _ordered(pairs: Iterable[bytes]) -> bytes:
    """An OrderedDict as Python 2.7 pickles it: the class, called with a list of two-element lists."""
    return b"ccollections\nOrderedDict\n](" + b"".join(pairs) + b"e\x85R"


def _tensor(key: str, item: tuple[str, np.ndarray], function: bytes, more: bytes, closed: bool = False) -> bytes:
    name, value = item
    kind = {"f": b"FloatStorage", "i": b"LongStorage"}[value.dtype.kind]
    storage = b"(" + _text("storage") + b"ctorch\n" + kind + b"\n" + _text(key) + _text("cuda:0")
    storage += b"J" + struct.pack("<i", value.size) + b"NtQ"
    strides = [stride // value.itemsize for stride in value.strides]
    arguments = b"(" + storage + b"K\x00" + _numbers(value.shape) + _numbers(strides)
    arguments += more if closed else b"t"
    return b"](" + _text(name) + b"ctorch._utils\n" + function + b"\n" + arguments + b"Re"


def _numbers(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", n) for n in values) + b"t"
