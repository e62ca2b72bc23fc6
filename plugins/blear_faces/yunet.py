"""The locator `faces/yunet` (Wu, Peng, Yu 2023, "YuNet: A tiny millisecond-level face detector"), run by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from blear.contracts import BuildContext
from blear.errors import PluginError
from blear_faces.locator_params import YuNetParams
from blear_faces.scaled import Detections, ScaledLocator

NETWORK_FACE = 12
"""Side in pixels of the smallest face for which frames are resized."""
_OVERLAP, _CANDIDATES = 0.3, 5000


class YuNetLocator(ScaledLocator):
    """YuNet of OpenCV's class `FaceDetectorYN`, frame by frame.

    Args:
        params: see `YuNetParams`.

    Raises:
        PluginError: the file is missing, or OpenCV cannot read it.
    """

    def __init__(self, params: YuNetParams) -> None:
        super().__init__(params, NETWORK_FACE)
        do = "give the ONNX file of YuNet, for instance face_detection_yunet_2023mar.onnx of OpenCV's model zoo"
        if not params.file.is_file():
            raise PluginError("there is no such file", str(params.file), do)
        try:
            self._detector = cv2.FaceDetectorYN.create(
                str(params.file), "", (320, 320), params.min_probability, _OVERLAP, _CANDIDATES
            )
        except cv2.error as error:
            raise PluginError(f"OpenCV cannot read it: {error.err}", str(params.file), do) from error

    def _detect_images(self, images_NHWC: np.ndarray) -> list[Detections]:
        self._detector.setInputSize((images_NHWC.shape[2], images_NHWC.shape[1]))
        found = []
        for image_HWC in images_NHWC:
            _, rows = self._detector.detect(np.ascontiguousarray(image_HWC[..., ::-1]))
            rows_N15 = np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)
            boxes_N4 = np.concatenate([rows_N15[:, :2], rows_N15[:, :2] + rows_N15[:, 2:4]], axis=1)
            found.append(Detections(boxes_N4, rows_N15[:, 14].copy(), rows_N15[:, 4:14].reshape(-1, 5, 2)))
        return found


def build_yunet(params: YuNetParams, context: BuildContext) -> YuNetLocator:
    """Builds the component `faces/yunet`."""
    return YuNetLocator(params)
