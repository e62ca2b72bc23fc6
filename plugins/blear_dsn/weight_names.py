"""Layer names in Caffe files -> parameter names of the backbones and heads: tables for `start_from: {rename}`.

A table of a backbone and the table of the same name of a head read the same file. In `start_from` of a stage the name
stands for both. The layers `upsample*` of DSN's files hold the fixed bilinear kernels, which are no weights here.
"""

from __future__ import annotations

DSN_VGG = {"conv*_*.*": "conv*_*.*"}
"""`dsn/vgg`: a snapshot of DSN-VGG-Face, dsn_vgg_iter_N.caffemodel."""

DSN_HEAD = {
    "conv1-dsn*.*": "side*.conv_a.*",
    "conv3-dsn*.*": "side*.conv_b.*",
    "conv4-dsn*.*": "side*.mix.*",
    "fc-dsn*.*": "side*.classify.*",
    "new-score-weighting.*": "fuse.mix.*",
    "fc.*": "fuse.classify.*",
}
"""`dsn/side_outputs`: a snapshot of DSN-VGG-Face or DSN-ResNet."""

RESNET = {"scale*": "bn*"}
"""`dsn/resnet50`: ResNet-50-model.caffemodel or ResNet-101-model.caffemodel. Scale and shift belong to `bn*` here."""

DSN_RESNET = RESNET | {"bn*": "bn*", "res*": "res*", "conv1.*": "conv1.*"}
"""`dsn/resnet50`: a snapshot of DSN-ResNet."""

DENSENET_TORCHVISION = {
    "*.norm.1.*": "*.norm1.*",
    "*.norm.2.*": "*.norm2.*",
    "*.conv.1.*": "*.conv1.*",
    "*.conv.2.*": "*.conv2.*",
}
"""`dsn/densenet121`: torchvision's ImageNet weights."""


def _densenet_caffe() -> dict[str, str]:
    layers = {"conv1": "conv0", "conv1/bn": "norm0", "conv1/scale": "norm0"}
    for block in range(1, 5):
        dense = f"denseblock{block}.denselayer*"
        for number in (1, 2):
            theirs = f"conv{block + 1}_*/x{number}"
            layers |= {f"{theirs}/bn": f"{dense}.norm{number}", f"{theirs}/scale": f"{dense}.norm{number}"}
            layers[theirs] = f"{dense}.conv{number}"
        norm = "norm5" if block == 4 else f"transition{block}.norm"
        layers |= {f"conv{block + 1}_blk/bn": norm, f"conv{block + 1}_blk/scale": norm}
        if block < 4:
            layers[f"conv{block + 1}_blk"] = f"transition{block}.conv"
    return {f"{theirs}.*": f"features.{ours}.*" for theirs, ours in layers.items()}


DENSENET_CAFFE = _densenet_caffe()
"""`dsn/densenet121`: DenseNet_121.caffemodel of ImageNet, or the authors' snapshot."""

DENSENET_HEAD = {"fc6_exp.*": "first.*", "fc6_final.*": "second.*"}
"""`dsn/two_linear`: the authors' snapshot of DenseNet-121."""
