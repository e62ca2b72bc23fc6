"""Tensors of the weight files of the published systems, random, by the names, order and shapes of the authors' code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from weight_file_bytes import Layers, Tensors

VGG = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of convolutions of VGG-16's groups."""
POSITIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
CONVS = tuple(f"conv{group}_{n}" for group, (_, depth) in enumerate(VGG, 1) for n in range(1, depth + 1))
_SIDES = {6: (7, 256), 5: (5, 256), 4: (5, 128), 3: (5, 128), 2: (3, 64), 1: (3, 64)}
_DEEPER = {4: (6, 5), 3: (6, 5), 2: (5, 4, 6, 3), 1: (5, 4, 6, 3)}


class Random:
    """Draws tensors whose values keep the signal's size through a network."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def weight(self, *shape: int) -> np.ndarray:
        """A kernel or matrix [out, in, ...], normal with the variance 2 / fan-in."""
        return self._normal(shape) * np.float32(math.sqrt(2 / math.prod(shape[1:])))

    def small(self, *shape: int) -> np.ndarray:
        return self._normal(shape) * np.float32(0.1)

    def positive(self, *shape: int) -> np.ndarray:
        return self._rng.uniform(0.5, 1.5, shape).astype(np.float32)

    def _normal(self, shape: tuple[int, ...]) -> np.ndarray:
        return self._rng.normal(size=shape).astype(np.float32)

    def layer(self, name: str, *shape: int, scale: float = 1.0) -> Tensors:
        return {f"{name}.weight": self.weight(*shape) * np.float32(scale), f"{name}.bias": self.small(shape[0])}

    def norm(self, name: str, channels: int, counter: bool = False) -> Tensors:
        found = {f"{name}.weight": self.positive(channels), f"{name}.bias": self.small(channels)}
        found |= {f"{name}.running_mean": self.small(channels), f"{name}.running_var": self.positive(channels)}
        return found | ({f"{name}.num_batches_tracked": np.array(7, np.int64)} if counter else {})

    def gru(self, name: str, inputs: int, hidden: int) -> Tensors:
        shapes = {"weight_ih": (3 * hidden, inputs), "weight_hh": (3 * hidden, hidden)}
        shapes |= {"bias_ih": (3 * hidden,), "bias_hh": (3 * hidden,)}
        return {f"{name}.{part}_l0": self.small(*shape) * 3 for part, shape in shapes.items()}


def wide(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def vgg_convolutions(random: Random, names: Sequence[object], width: float) -> Tensors:
    found: Tensors = {}
    counts = [wide(channels, width) for channels, depth in VGG for _ in range(depth)]
    for name, inputs, outputs in zip(names, [3, *counts[:-1]], counts, strict=True):
        found |= random.layer(str(name), outputs, inputs, 3, 3)
    return found


# The files of FER-VGG-GRU, networks for pictures of 32 x 32 pixels (a last map of 1 x 1); the face ResNet: 48 x 48.


def vgg_face_converted(width: float) -> Tensors:
    """VGG_Face_torch.pth."""
    random, hidden = Random(1), wide(4096, width)
    found = vgg_convolutions(random, POSITIONS, width)
    for name, shape in (("32.1", wide(512, width)), ("35.1", hidden)):
        found |= random.layer(name, hidden, shape)
    return found | random.layer("38.1", 26, hidden)


def best7164(width: float) -> Tensors:
    """best7164.model: VGG-Face without its last layer, and the classifier."""
    found = {f"pre_model.{k}": v for k, v in vgg_face_converted(width).items() if not k.startswith("38.")}
    return found | Random(2).layer("classifier", 7, wide(4096, width))


def vgg_gru(width: float) -> Tensors:
    """weight/model_N.pkl of VGG_GRU."""
    random, hidden = Random(3), wide(4096, width)
    found = vgg_convolutions(random, CONVS, width) | random.layer("fc6", hidden, wide(512, width))
    return found | random.gru("gru", hidden, 128) | random.layer("classify", 7, 128)


def face_resnet(width: float) -> Tensors:
    """best_resnet.model."""
    return _face_trunk(Random(4), width) | Random(5).layer("fc8_final", 7, wide(512, width), scale=0.1)


def resnet_gru(width: float, side: int) -> Tensors:
    """weight/model_N.pkl of Resnet_GRU."""
    random = Random(6)
    found = _face_trunk(random, width) | random.layer("fc8_final", 7, 128)
    for name, inputs in (("gru1", wide(512, width)), ("gru2", side), ("gru3", side)):
        found |= random.gru(name, inputs, 128)
    found |= random.layer("fc5_pool1b", side, wide(64, width) * 22 * 22)
    return found | random.layer("fc5_pool3", side, wide(256, width) * 4 * 4)


def _face_trunk(random: Random, width: float) -> Tensors:
    c0, c1, c2, c3, c4 = (wide(n, width) for n in (32, 64, 128, 256, 512))
    found: Tensors = {}
    for name, inputs, outputs in (("1_a", 3, c0), ("1_b", c0, c1), ("2", c1, c2), ("3", c2, c3), ("4", c3, c4)):
        found |= random.layer(f"conv{name}", outputs, inputs, 3, 3) | random.norm(f"bn{name}", outputs)
    for layer, (units, channels) in enumerate(zip((1, 2, 5, 3), (c1, c2, c3, c4), strict=True), 1):
        for unit, n in itertools.product(range(units), (1, 2)):
            found |= random.layer(f"layer{layer}.{unit}.conv{n}", channels, channels, 3, 3, scale=0.2)
    return found | random.layer("fc5_new", wide(512, width), c4)


def vtt_resnet18(width: float) -> Tensors:
    """model_state_dict of a checkpoint of VTT."""
    random, widths = Random(7), [wide(n, width) for n in (64, 128, 256, 512)]
    found = {"conv1.weight": random.weight(widths[0], 3, 7, 7)} | random.norm("bn1", widths[0], True)
    inputs = widths[0]
    for layer, outputs in enumerate(widths, 1):
        for block in range(2):
            name = f"layer{layer}.{block}"
            for n in (1, 2):
                found[f"{name}.conv{n}.weight"] = random.weight(outputs, inputs if n == 1 else outputs, 3, 3)
                found |= random.norm(f"{name}.bn{n}", outputs, True)
            if inputs != outputs:
                found[f"{name}.downsample.0.weight"] = random.weight(outputs, inputs, 1, 1)
                found |= random.norm(f"{name}.downsample.1", outputs, True)
            inputs = outputs
    return found | random.layer("fc", 7, inputs)


# Caffe


def caffe_layers(tensors: Tensors, kinds: Mapping[str, str] | None = None) -> Layers:
    """Layers of `<layer>.weight` and `<layer>.bias`; kernels of four dimensions are convolutions."""
    blobs: dict[str, list[np.ndarray]] = {}
    for name, value in tensors.items():
        blobs.setdefault(name.rpartition(".")[0], []).append(value)
    default = {2: "InnerProduct", 4: "Convolution"}
    return [(name, (kinds or {}).get(name) or default[found[0].ndim], found) for name, found in blobs.items()]


def vlqr_recogniser(width: float) -> Tensors:
    """HQ.caffemodel and the other recognisers, for faces of 48 x 48 pixels (a last map of 2 x 2)."""
    random, (c1, c2, c3) = Random(8), (wide(n, width) for n in (64, 128, 256))
    found = (
        random.layer("conv1", c1, 1, 5, 5) | random.layer("conv2", c2, c1, 5, 5) | random.layer("conv3", c3, c2, 5, 5)
    )
    return found | random.layer("fc4", wide(300, width), c3 * 2 * 2) | random.layer("fc5", 1, wide(300, width))


def vlqr_restoration(width: float) -> Tensors:
    """The snapshots of the super-resolution network."""
    found = {name: value for name, value in vlqr_recogniser(width).items() if name.startswith("conv")}
    return found | Random(9).layer("conv4", 1, wide(256, width), 5, 5)


def vgg_face_caffe(width: float, classes: str = "fc8", outputs: int = 26) -> Tensors:
    """VGG_FACE.caffemodel; with `fc8_vgg` and 7 outputs DSN's plain VGG-Face."""
    random, hidden = Random(10), wide(4096, width)
    found = vgg_convolutions(random, CONVS, width)
    found |= random.layer("fc6", hidden, wide(512, width)) | random.layer("fc7", hidden, hidden)
    return found | random.layer(classes, outputs, hidden, scale=0.01)


def dsn_vgg(width: float, size: int) -> Tensors:
    """dsn_vgg_iter_N.caffemodel for pictures of size x size pixels; `upsample*`: the fixed bilinear kernels."""
    random, taps = Random(11), {6: 512, 5: 512, 4: 512, 3: 256, 2: 128, 1: 64}
    found = vgg_convolutions(random, CONVS, width)
    sides, side = {}, size + 8
    for stage in range(1, 6):
        sides[stage] = side
        side = -(-side // 2) if stage < 4 else _ceil_pool(side)
    return found | _sides(random, width, {k: wide(v, width) for k, v in taps.items()}, sides | {6: side}, size)


def _ceil_pool(side: int) -> int:
    """Rows after a pooling of 3 x 3 with stride 2 and padding 1, rounded up, as Caffe counts them."""
    rows = -(-(side + 2 - 3) // 2) + 1
    return rows - 1 if (rows - 1) * 2 >= side + 1 else rows


def _sides(random: Random, width: float, taps: Mapping[int, int], sides: Mapping[int, int], size: int) -> Tensors:
    found: Tensors = {}
    for stage, channels in taps.items():
        kernel, outputs = _SIDES[stage]
        found |= random.layer(f"conv1-dsn{stage}", wide(outputs, width), channels, kernel, kernel)
        found |= random.layer(f"conv3-dsn{stage}", 1, wide(outputs, width), 1, 1)
        if stage in _DEEPER:
            found |= random.layer(f"conv4-dsn{stage}", 1, 1 + len(_DEEPER[stage]), 1, 1)
        factors = [(2 ** (stage - 1), "_in")] if stage > 1 else []
        factors += [(2 ** (stage - lower), "") for lower in (1, 2, 3, 4) if lower in taps and stage in _DEEPER[lower]]
        for factor, kind in factors:
            found[f"upsample{factor}{kind}_dsn{stage}.weight"] = bilinear(factor)
            found[f"upsample{factor}{kind}_dsn{stage}.bias"] = np.zeros(1, np.float32)
        found |= random.layer(f"fc-dsn{stage}", 7, sides[stage] ** 2)
    found |= random.layer("new-score-weighting", 1, len(taps), 1, 1)
    return found | random.layer("fc", 7, size**2, scale=0.01)


def bilinear(factor: int) -> np.ndarray:
    """The kernel that DSN's net surgery writes into a layer of stride `factor`."""
    rows = np.ogrid[: 2 * factor, : 2 * factor]
    kernel = np.prod(np.broadcast_arrays(*(1 - abs(row - (factor - 0.5)) / factor for row in rows)), axis=0)
    return kernel[None, None].astype(np.float32)


def resnet_caffe(width: float, names: Mapping[int, Sequence[str]], bias: bool) -> Layers:
    """ResNet-50-model.caffemodel and its relatives; names: group -> names of its blocks."""
    random, widths = Random(12), [wide(n, width) for n in (64, 128, 256, 512)]
    conv1 = [random.weight(widths[0], 3, 7, 7), *([random.small(widths[0])] if bias else [])]
    layers: list[tuple[str, str, Sequence[np.ndarray]]] = [("conv1", "Convolution", conv1)]
    layers += _norm(random, "_conv1", widths[0])
    inputs = widths[0]
    for (group, blocks), inner in zip(names.items(), widths, strict=True):
        for block in blocks:
            branches = {"branch1": (4 * inner, inputs, 1)} if block == blocks[0] else {}
            branches |= {
                "branch2a": (inner, inputs, 1),
                "branch2b": (inner, inner, 3),
                "branch2c": (4 * inner, inner, 1),
            }
            for branch, (outputs, given, kernel) in branches.items():
                layers.append(
                    (f"res{group}{block}_{branch}", "Convolution", [random.weight(outputs, given, kernel, kernel)])
                )
                layers += _norm(random, f"{group}{block}_{branch}", outputs)
            inputs = 4 * inner
    return [*layers, ("fc1000", "InnerProduct", [random.weight(5, inputs), random.small(5)])]


DEEP = {2: ["a", "b", "c"], 3: ["a", "b1", "b2", "b3"], 4: ["a", *(f"b{n}" for n in range(1, 23))], 5: ["a", "b", "c"]}
"""Groups of the 101 layers of ResNet -> names of their blocks."""


def dsn_resnet(width: float, size: int) -> Layers:
    """A snapshot of DSN-ResNet (101 layers, last group dilated) for pictures of size x size, a multiple of 16."""
    taps = {6: 2048, 5: 1024, 4: 512, 3: 256, 2: 64}
    sides = {stage: size // min(2 ** (stage - 1), 16) for stage in taps}
    heads = _sides(
        Random(14),
        width,
        {k: wide(v / 4, width) * 4 if k > 2 else wide(v, width) for k, v in taps.items()},
        sides,
        size,
    )
    return [*list(resnet_caffe(width, DEEP, bias=False))[:-1], *caffe_layers(heads)]


def named(layers: Layers) -> Tensors:
    """`<layer>.weight`, `.bias`, and of BatchNorm `.running_mean` and `.running_var`, divided by their factor."""
    found: Tensors = {}
    for name, kind, blobs in layers:
        if kind == "BatchNorm":
            found |= {f"{name}.running_mean": blobs[0] / blobs[2], f"{name}.running_var": blobs[1] / blobs[2]}
        else:
            found |= {f"{name}.{part}": value for part, value in zip(("weight", "bias"), blobs, strict=False)}
    return found


def densenet_caffe(width: float) -> Layers:
    """DenseNet_121.caffemodel."""
    random, growth, inputs = Random(13), wide(32, width), wide(64, width)
    layers: list[tuple[str, str, Sequence[np.ndarray]]] = [("conv1", "Convolution", [random.weight(inputs, 3, 7, 7)])]
    layers += _norm(random, "conv1", inputs, "/bn", "/scale")
    for block, depth in enumerate((6, 12, 24, 16), 2):
        for n in range(1, depth + 1):
            for x, (given, out, kernel) in {1: (inputs, 4 * growth, 1), 2: (4 * growth, growth, 3)}.items():
                layers += _norm(random, f"conv{block}_{n}/x{x}", given, "/bn", "/scale")
                layers.append((f"conv{block}_{n}/x{x}", "Convolution", [random.weight(out, given, kernel, kernel)]))
            inputs += growth
        layers += _norm(random, f"conv{block}_blk", inputs, "/bn", "/scale")
        if block < 5:
            layers.append((f"conv{block}_blk", "Convolution", [random.weight(inputs // 2, inputs, 1, 1)]))
            inputs //= 2
    return [*layers, ("fc6", "Convolution", [random.weight(5, inputs, 1, 1), random.small(5)])]


def _norm(random: Random, name: str, channels: int, bn: str = "", scale: str = "") -> Layers:
    """BatchNorm (sums, and the factor that divides them) and Scale."""
    factor = np.float32(999.98236)
    statistics = [random.small(channels) * factor, random.positive(channels) * factor, factor[None]]
    names = (f"{name}{bn}", f"{name}{scale}") if bn else (f"bn{name}", f"scale{name}")
    return [
        (names[0], "BatchNorm", statistics),
        (names[1], "Scale", [random.positive(channels) * np.float32(0.3), random.small(channels)]),
    ]
