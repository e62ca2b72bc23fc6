"""Parameter names in published VGG-Face files -> names in `fer/vgg_face`: the tables `vgg_face_converted`,
`vgg_face_fer2013` and `vgg_face_caffe` for `start_from: {rename}` of a job.

The converted file is a sequential network. Its convolutions have the positions 0, 2, 5, ..., 28, as `features` has
here. Its fully connected layers are nested one level deeper, at 32, 35 and 38 (fc8, 2,622 identities).
"""

from __future__ import annotations

CONVERTED = {"32.1.*": "fc6.*", "35.1.*": "fc7.*", "*": "features.*"}
"""Names in the output of `caffe_to_torch_to_pytorch`."""

FINE_TUNED = {f"pre_model.{theirs}": ours for theirs, ours in CONVERTED.items()}
"""Names in the authors' FER2013 checkpoint. Its classification layer, `classifier`, is not loaded."""

_GROUPS = {"1": (0, 2), "2": (5, 7), "3": (10, 12, 14), "4": (17, 19, 21), "5": (24, 26, 28)}

CAFFE = {
    f"conv{group}_{number}.*": f"features.{position}.*"
    for group, positions in _GROUPS.items()
    for number, position in enumerate(positions, start=1)
}
"""Names in the original `VGG_FACE.caffemodel`. fc6 and fc7 have the same names."""
