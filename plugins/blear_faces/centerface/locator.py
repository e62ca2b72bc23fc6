"""The locator `faces/centerface` (Xu, Yan, Yang, Qiu, Huang 2020): anchor-free, run by OpenCV."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from blear.contracts import BuildContext
from blear_faces.locator_params import CenterFaceParams
from blear_faces.scaled import Detections, ScaledLocator

NETWORK_FACE = 20
"""Side in pixels of the smallest face that the network finds reliably."""
_NETWORK = Path(__file__).with_name("centerface.onnx")
_OUTPUTS = ("537", "538", "539", "540")  # heat map, logarithms of sizes, offsets of centres, landmarks
_STRIDE, _MULTIPLE = 4, 32
_OVERLAP = 0.3


class CenterFaceLocator(ScaledLocator):
    """CenterFace on batches of frames of one size.

    Args:
        params: see `CenterFaceParams`.
    """

    def __init__(self, params: CenterFaceParams) -> None:
        super().__init__(params, NETWORK_FACE)
        self._network = cv2.dnn.readNetFromONNX(str(_NETWORK))

    def _detect_images(self, images_NHWC: np.ndarray) -> list[Detections]:
        count, height, width = images_NHWC.shape[:3]
        rows, columns = (math.ceil(side / _MULTIPLE) * _MULTIPLE for side in (height, width))
        padded = np.zeros((count, 3, rows, columns), np.float32)
        padded[:, :, :height, :width] = images_NHWC.transpose(0, 3, 1, 2)
        self._network.setInput(padded)
        heat, sizes, offsets, points = self._network.forward(_OUTPUTS)
        return [self._decode(heat[n, 0], sizes[n], offsets[n], points[n]) for n in range(count)]

    def _decode(
        self, heat_HW: np.ndarray, sizes_2HW: np.ndarray, offsets_2HW: np.ndarray, points_10HW: np.ndarray
    ) -> Detections:
        y_N, x_N = np.nonzero(heat_HW >= self.params.min_probability)
        size_N2 = np.exp(sizes_2HW[::-1, y_N, x_N].T) * _STRIDE  # width, height
        centre_N2 = (np.stack([x_N, y_N], axis=1) + offsets_2HW[::-1, y_N, x_N].T + 0.5) * _STRIDE
        low_N2 = centre_N2 - size_N2 / 2
        steps_N52 = points_10HW[:, y_N, x_N].T.reshape(-1, 5, 2)[..., ::-1]
        points_N52 = low_N2[:, None] + steps_N52 * size_N2[:, None]
        boxes_N4 = np.concatenate([low_N2, low_N2 + size_N2], axis=1)
        found = Detections(boxes_N4.astype(np.float32), heat_HW[y_N, x_N], points_N52.astype(np.float32))
        return found.distinct(_OVERLAP)


def build_centerface(params: CenterFaceParams, context: BuildContext) -> CenterFaceLocator:
    """Builds the component `faces/centerface`."""
    return CenterFaceLocator(params)
