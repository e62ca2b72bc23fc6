"""Caffe's binary models, written by protobuf itself from the public numbers of caffe.proto."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
_MESSAGES: dict[str, list[tuple[str, int, int, str]]] = {
    "BlobShape": [("dim", 1, _F.TYPE_INT64, "packed")],
    "BlobProto": [
        *((name, number, _F.TYPE_INT32, "") for number, name in enumerate(("num", "channels", "height", "width"), 1)),
        ("data", 5, _F.TYPE_FLOAT, "packed"),
        ("diff", 6, _F.TYPE_FLOAT, "packed"),
        ("shape", 7, _F.TYPE_MESSAGE, "BlobShape"),
        ("double_data", 8, _F.TYPE_DOUBLE, "packed"),
    ],
    "LayerParameter": [
        ("name", 1, _F.TYPE_STRING, ""),
        ("type", 2, _F.TYPE_STRING, ""),
        ("bottom", 3, _F.TYPE_STRING, "repeated"),
        ("loss_weight", 5, _F.TYPE_FLOAT, "repeated"),
        ("blobs", 7, _F.TYPE_MESSAGE, "BlobProto*"),
        ("phase", 10, _F.TYPE_INT32, ""),
    ],
    "V0LayerParameter": [("name", 1, _F.TYPE_STRING, "")],
    "V1LayerParameter": [
        ("layer", 1, _F.TYPE_MESSAGE, "V0LayerParameter"),
        ("bottom", 2, _F.TYPE_STRING, "repeated"),
        ("name", 4, _F.TYPE_STRING, ""),
        ("type", 5, _F.TYPE_INT32, ""),
        ("blobs", 6, _F.TYPE_MESSAGE, "BlobProto*"),
        ("blobs_lr", 7, _F.TYPE_FLOAT, "repeated"),
    ],
    "NetParameter": [
        ("name", 1, _F.TYPE_STRING, ""),
        ("layers", 2, _F.TYPE_MESSAGE, "V1LayerParameter*"),
        ("input", 3, _F.TYPE_STRING, "repeated"),
        ("force_backward", 5, _F.TYPE_BOOL, ""),
        ("layer", 100, _F.TYPE_MESSAGE, "LayerParameter*"),
    ],
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="caffe_test.proto", package="caffe_test", syntax="proto2")
    for name, members in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, more in members:
            repeated = more in ("packed", "repeated") or more.endswith("*")
            label = _F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, type=kind, label=label)
            if kind == _F.TYPE_MESSAGE:
                added.type_name = f".caffe_test.{more.removesuffix('*')}"
            if more == "packed":
                added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe_test.{name}")) for name in _MESSAGES
    }


CAFFE = _classes()


def blob(values: np.ndarray, *, legacy: bool = False, double: bool = False) -> Any:
    """A BlobProto; `legacy`: its shape as num, channels, height, width, ones first."""
    message = CAFFE["BlobProto"]()
    (message.double_data if double else message.data).extend(np.asarray(values).ravel().tolist())
    message.diff.extend([0.5] * 3)
    if legacy:
        message.num, message.channels, message.height, message.width = (1,) * (4 - values.ndim) + values.shape
    else:
        message.shape.dim.extend(values.shape)
    return message


def net(*layers: tuple[str, str, list[Any]]) -> bytes:
    """A network of (name, type, blobs)."""
    message = CAFFE["NetParameter"](name="{net}", input=["data"], force_backward=True)
    message.layer.add(name="data", type="Input")
    for name, kind, blobs in layers:
        message.layer.add(name=name, type=kind, bottom=["data"], loss_weight=[1.0], blobs=blobs, phase=1)
    return message.SerializeToString()


def v1_net(*layers: tuple[str, int, list[Any]]) -> bytes:
    """A network of (name, number of the type, blobs) in Caffe's format of 2014."""
    message = CAFFE["NetParameter"](name="old")
    for name, kind, blobs in layers:
        message.layers.add(name=name, type=kind, blobs=blobs, blobs_lr=[1.0, 2.0])
    return message.SerializeToString()
