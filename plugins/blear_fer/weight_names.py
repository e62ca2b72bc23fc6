"""Parameter names in the published weight files -> names of the backbones and heads: tables for `start_from: {rename}`.

A table of a backbone and the table of the same name of a head read the same file. In `start_from` of a stage the name
stands for both.

The converted VGG-Face is a sequential network. Its convolutions have the positions 0, 2, 5, ..., 28, as `features` has
here. Its fully connected layers are nested one level deeper, at 32, 35 and 38 (fc8, 2,622 identities).
"""

from __future__ import annotations

CONVERTED = {"32.1.*": "fc6.*", "35.1.*": "fc7.*", "*": "features.*"}
"""`fer/vgg_face`: VGG_Face_torch.pth, the output of `caffe_to_torch_to_pytorch`."""

FINE_TUNED = {f"pre_model.{theirs}": ours for theirs, ours in CONVERTED.items()}
"""`fer/vgg_face`: best7164.model, the authors' network of FER2013."""

FINE_TUNED_HEAD = {"classifier.*": "linear.*"}
"""`fer/emotion`: best7164.model."""

_GROUPS = {"1": (0, 2), "2": (5, 7), "3": (10, 12, 14), "4": (17, 19, 21), "5": (24, 26, 28)}

CAFFE = {
    f"conv{group}_{number}.*": f"features.{position}.*"
    for group, positions in _GROUPS.items()
    for number, position in enumerate(positions, start=1)
}
"""`fer/vgg_face`: the original VGG_FACE.caffemodel. fc6 and fc7 have the same names."""

DSN_VGG_FACE = CAFFE | {"fc6.*": "fc6.*", "fc7.*": "fc7.*"}
"""`fer/vgg_face`: the plain VGG-Face of the DSN system, a caffemodel."""

DSN_VGG_FACE_HEAD = {"fc8_vgg.*": "linear.*"}
"""`fer/emotion`: the plain VGG-Face of the DSN system."""

VGG_GRU = CAFFE | {"fc6.*": "fc6.*"}
"""`fer/vgg_face` with `layers: fc6`: a checkpoint of the authors' VGG+GRU, weight/model_N.pkl."""

VGG_GRU_HEAD = {"gru.*": "cell.*", "classify.*": "linear.*"}
"""`fer/sequence`: a checkpoint of the authors' VGG+GRU."""

FACE_RESNET = {"fc5_new.*": "fc5.*", "conv*": "conv*", "bn*": "bn*", "layer*": "layer*"}
"""`fer/face_resnet`: best_resnet.model, or a checkpoint of the authors' Resnet+GRU."""

FACE_RESNET_HEAD = {"fc8_final.*": "linear.*"}
"""`fer/emotion`: best_resnet.model."""

RESNET_GRU_HEAD = {
    "fc5_pool1b.*": "side1.*",
    "fc5_pool3.*": "side3.*",
    "gru1.*": "gru5.*",
    "gru2.*": "gru1.*",
    "gru3.*": "gru3.*",
    "fc8_final.*": "linear.*",
}
"""`fer/multi_level_gru`: a checkpoint of the authors' Resnet+GRU, whose gru1 reads fc5, gru2 p1 and gru3 p3."""
