"""Names in published files of VGG-Face and what `fer/vgg_face` calls them: tables for a job's `start_from: {rename}`.

The converted file is a sequential network whose convolutions keep the positions 0, 2, 5, ..., 28 that `features` has
here; its fully connected layers are nested one level, at 32, 35 and (fc8, 2,622 identities) 38.
"""

from __future__ import annotations

CONVERTED = {"32.1.*": "fc6.*", "35.1.*": "fc7.*", "*": "features.*"}
"""The file that `caffe_to_torch_to_pytorch` writes."""

FINE_TUNED = {f"pre_model.{theirs}": ours for theirs, ours in CONVERTED.items()}
"""The authors' FER2013 checkpoint; its class layer, `classifier`, is left behind."""

_GROUPS = {"1": (0, 2), "2": (5, 7), "3": (10, 12, 14), "4": (17, 19, 21), "5": (24, 26, 28)}

CAFFE = {
    f"conv{group}_{number}.*": f"features.{position}.*"
    for group, positions in _GROUPS.items()
    for number, position in enumerate(positions, start=1)
}
"""The original `VGG_FACE.caffemodel`; fc6 and fc7 are called the same."""
