"""The locator `faces/retinaface`: faces from a few pixels on, with five landmarks."""

from __future__ import annotations

import functools
import math
from typing import Protocol

import numpy as np

from blear.contracts import BuildContext
from blear_faces.face import torch_device
from blear_faces.locator_params import RetinaFaceParams
from blear_faces.scaled import Detections, ScaledLocator

NETWORK_FACE = 18
"""Side in pixels of the smallest face that the network finds reliably."""
STRIDES = (8, 16, 32)
"""Pixels between two anchors of the three levels."""
ANCHORS = ((16, 32), (64, 128), (256, 512))
"""Sides of the two square anchors of each level, in pixels."""
MEAN_RGB = (127, 117, 104)
"""Mean of the training pictures: value of the padding."""
MIDDLE = 128
_CENTRE, _SIZE = 0.1, 0.2  # scales of the offsets of centres and of the logarithms of sizes
_CANDIDATES = 5000


class Network(Protocol):
    """The network in one of the libraries that can run it."""

    def run(self, images_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores [N, A], offsets of boxes [N, A, 4] and of points [N, A, 10], see `RetinaFace.forward`.

        Args:
            images_NHWC: int8 [N, H + 2, W + 2, 3], RGB minus 128; H and W are multiples of 32.
        """
        ...


class RetinaFaceLocator(ScaledLocator):
    """RetinaFace on batches of frames of one size.

    Args:
        params: see `RetinaFaceParams`.
    """

    def __init__(self, params: RetinaFaceParams) -> None:
        super().__init__(params, NETWORK_FACE)
        self._network = _network(torch_device(params.device), params.precision)

    def _detect_images(self, images_NHWC: np.ndarray) -> list[Detections]:
        padded_NHWC = _padded(images_NHWC)
        scores_NA, boxes_NA4, points_NA10 = self._network.run(padded_NHWC)
        anchors_A4 = _anchors(*(side - 2 for side in padded_NHWC.shape[1:3]))
        found = []
        for scores_A, boxes_A4, points_A10 in zip(scores_NA, boxes_NA4, points_NA10, strict=True):
            (kept,) = np.nonzero(scores_A >= self.params.min_probability)
            kept = kept[np.argsort(-scores_A[kept], kind="stable")[:_CANDIDATES]]
            anchors = anchors_A4[kept]
            offsets = points_A10[kept].reshape(-1, 5, 2)
            points = anchors[:, None, :2] + offsets * np.float32(_CENTRE) * anchors[:, None, 2:]
            found.append(Detections(_corners(boxes_A4[kept], anchors), scores_A[kept], points).distinct())
        return found


def build_retinaface(params: RetinaFaceParams, context: BuildContext) -> RetinaFaceLocator:
    """Builds the component `faces/retinaface`."""
    return RetinaFaceLocator(params)


def _network(device: str, precision: str) -> Network:
    if device == "cpu" and precision == "float32":
        from blear_faces.retinaface.onnx_network import OnnxNetwork

        return OnnxNetwork()
    from blear_faces.retinaface.torch_network import TorchNetwork

    return TorchNetwork(device, precision)


def _padded(images_NHWC: np.ndarray) -> np.ndarray:
    """RGB minus 128, int8, padded with the mean to multiples of 32 and by a pixel on each side."""
    count, height, width = images_NHWC.shape[:3]
    rows, columns = (math.ceil(side / STRIDES[-1]) * STRIDES[-1] for side in (height, width))
    padded = np.empty((count, rows + 2, columns + 2, 3), np.uint8)
    padded[:, 1 : height + 1, 1 : width + 1] = images_NHWC
    padded[:, 0] = padded[:, height + 1 :] = MEAN_RGB
    padded[:, :, 0] = padded[:, :, width + 1 :] = MEAN_RGB
    padded ^= MIDDLE  # with the view as int8: minus 128
    return padded.view(np.int8)


@functools.lru_cache(maxsize=8)
def _anchors(height: int, width: int) -> np.ndarray:
    """Centre x, centre y, width, height of all anchors in pixels, float32 [A, 4]."""
    levels = []
    for stride, sides in zip(STRIDES, ANCHORS, strict=True):
        y, x = np.meshgrid(np.arange(height // stride), np.arange(width // stride), indexing="ij")
        centres = (np.stack((x, y), axis=-1).reshape(-1, 1, 2) + 0.5) * stride
        sizes = np.broadcast_to(np.array(sides)[None, :, None], (len(centres), len(sides), 2))
        both = (np.broadcast_to(centres, sizes.shape), sizes)
        levels.append(np.concatenate(both, axis=-1).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def _corners(offsets_N4: np.ndarray, anchors_N4: np.ndarray) -> np.ndarray:
    centres = anchors_N4[:, :2] + offsets_N4[:, :2] * np.float32(_CENTRE) * anchors_N4[:, 2:]
    halves = anchors_N4[:, 2:] * np.exp(offsets_N4[:, 2:] * np.float32(_SIZE)) / 2
    return np.concatenate((centres - halves, centres + halves), axis=1)
