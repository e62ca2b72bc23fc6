"""Reads Caffe's binary models (caffemodel): the blobs of each layer as tensors.

The field numbers are those of caffe.proto (NetParameter, LayerParameter, V1LayerParameter, BlobProto, BlobShape).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blear.errors import DataError
from blear.weights.protobuf import Field, ProtobufError, read_fields
from blear.weights.state_dict import StateDict

_LAYER, _V1_LAYERS = 100, 2
_NAME, _TYPE, _BLOBS = 1, 2, 7
_V0_LAYER, _V1_NAME, _V1_TYPE, _V1_BLOBS = 1, 4, 5, 6
_V1_TYPES = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}
_LEGACY_SHAPE, _DATA, _SHAPE, _DOUBLE_DATA, _DIM = (1, 2, 3, 4), 5, 7, 8, 1
_MAX_AXES = 32  # kMaxBlobAxes
_PARTS = ("weight", "bias")
_BATCH_NORM = 3


@dataclass
class _Blob:
    """A blob as stored.

    Attributes:
        legacy: the shape was stored as num, channels, height and width, before Caffe had BlobShape.
    """

    shape: list[int]
    values: np.ndarray
    legacy: bool


@dataclass
class _Layer:
    name: str = ""
    kind: str = ""
    blobs: list[_Blob] = field(default_factory=list)


def read_caffemodel(path: Path) -> StateDict:
    """Reads `<layer>.weight` and `<layer>.bias` of each layer that has them, float32, in the order of the network.

    A BatchNorm layer gives `<layer>.running_mean` and `<layer>.running_var`, divided by its scale factor. A Scale layer
    gives gamma as `.weight` and beta as `.bias`. Further blobs are `.blob2`, `.blob3` and so on. Leading dimensions of
    size 1 in legacy shapes of inner products and biases are dropped.

    Raises:
        DataError: the file is damaged, is no caffemodel, or has a format older than Caffe's first release.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", str(path), "give a file of weights") from error
    weights = StateDict()
    try:
        for layer in _layers(data):
            for name, tensor in _named(layer):
                if name in weights:
                    raise ProtobufError(f"{name} occurs twice")
                weights[name] = tensor
    except ProtobufError as error:
        raise DataError(f"damaged, or no caffemodel: {error}", str(path), "fetch the file again") from error
    if not weights:
        raise DataError("no layer has weights", str(path), "give the .caffemodel, not the .prototxt")
    return weights


def _layers(data: memoryview) -> Iterator[_Layer]:
    for field_ in read_fields(data):
        if field_.number == _LAYER:
            yield _layer(field_.bytes())
        elif field_.number == _V1_LAYERS:
            yield _v1_layer(field_.bytes())


def _layer(data: memoryview) -> _Layer:
    layer = _Layer()
    for field_ in read_fields(data):
        if field_.number == _NAME:
            layer.name = field_.text()
        elif field_.number == _TYPE:
            layer.kind = field_.text()
        elif field_.number == _BLOBS:
            layer.blobs.append(_blob(field_.bytes()))
    return layer


def _v1_layer(data: memoryview) -> _Layer:
    layer = _Layer()
    for field_ in read_fields(data):
        if field_.number == _V0_LAYER:
            raise ProtobufError("a network of Caffe's first format; upgrade it with Caffe's upgrade_net_proto_binary")
        if field_.number == _V1_NAME:
            layer.name = field_.text()
        elif field_.number == _V1_TYPE:
            layer.kind = _V1_TYPES.get(_integer(field_), "")
        elif field_.number == _V1_BLOBS:
            layer.blobs.append(_blob(field_.bytes()))
    return layer


def _blob(data: memoryview) -> _Blob:
    shape: list[int] | None = None
    legacy = [0, 0, 0, 0]
    single, double = bytearray(), bytearray()
    for field_ in read_fields(data):
        if field_.number == _SHAPE:
            shape = _dimensions(field_.bytes())
        elif field_.number in _LEGACY_SHAPE:
            legacy[_LEGACY_SHAPE.index(field_.number)] = _integer(field_)
        elif field_.number == _DATA:
            single += field_.floats(4)
        elif field_.number == _DOUBLE_DATA:
            double += field_.floats(8)
    values = np.frombuffer(double, "<f8") if double else np.frombuffer(single, "<f4")
    sizes = legacy if shape is None else shape
    if not len(values) or any(size < 1 for size in sizes) or math.prod(sizes) != len(values):
        raise ProtobufError(f"a blob of {len(values)} numbers whose shape is {sizes}")
    return _Blob(sizes, values, shape is None)


def _dimensions(data: memoryview) -> list[int]:
    sizes: list[int] = []
    for field_ in read_fields(data):
        if field_.number == _DIM:
            sizes += field_.integers(_MAX_AXES)
        if len(sizes) > _MAX_AXES:
            raise ProtobufError(f"a blob of more than {_MAX_AXES} dimensions")
    return sizes


def _integer(field_: Field) -> int:
    numbers = field_.integers(1)
    if not numbers:
        raise ProtobufError(f"field {field_.number} has no number")
    return numbers[0]


def _named(layer: _Layer) -> Iterator[tuple[str, Tensor]]:
    if layer.kind == "BatchNorm" and len(layer.blobs) == _BATCH_NORM:
        yield from _statistics(layer)
        return
    for number, blob in enumerate(layer.blobs):
        part = _PARTS[number] if number < len(_PARTS) else f"blob{number}"
        yield f"{layer.name}.{part}", _tensor(blob.values, _shape(layer, number, blob))


def _statistics(layer: _Layer) -> Iterator[tuple[str, Tensor]]:
    """Mean and variance: Caffe stores sums and a factor to divide them by; a factor of 0 means no batches."""
    *sums, factor = (blob.values.astype(np.float64) for blob in layer.blobs)
    if len(factor) != 1:
        raise ProtobufError(f"the scale factor of {layer.name} has {len(factor)} numbers")
    scale = 0.0 if factor[0] == 0 else 1.0 / factor[0]
    for part, values in zip(("running_mean", "running_var"), sums, strict=True):
        yield f"{layer.name}.{part}", _tensor(values * scale, [len(values)])


def _shape(layer: _Layer, number: int, blob: _Blob) -> Sequence[int]:
    if blob.legacy and number == 0 and layer.kind == "InnerProduct" and blob.shape[:2] == [1, 1]:
        return blob.shape[2:]
    if blob.legacy and number > 0 and max(blob.shape) == len(blob.values):
        return [len(blob.values)]
    return blob.shape


def _tensor(values: np.ndarray, shape: Sequence[int]) -> Tensor:
    with np.errstate(over="ignore", invalid="ignore"):  # training reports values that are not finite
        return torch.from_numpy(values.astype(np.float32)).reshape(list(shape))
