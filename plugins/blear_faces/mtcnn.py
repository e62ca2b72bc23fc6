"""The locator `faces/mtcnn` (Zhang, Zhang, Li, Qiao 2016; the weights come with facenet-pytorch)."""

from __future__ import annotations

import numpy as np

from blear.contracts import BuildContext
from blear_faces.face import torch_device
from blear_faces.locator_params import MtcnnParams
from blear_faces.scaled import Detections, ScaledLocator

NETWORK_FACE = 20
"""Side in pixels of the smallest face for which frames are resized."""
_RECEPTIVE = 12  # side in pixels of what the first of the three networks sees
_NONE = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


class MtcnnLocator(ScaledLocator):
    """MTCNN on batches of frames of one size.

    Args:
        params: see `MtcnnParams`.
        network_face: side in pixels of the smallest face that is searched for in resized frames; at least 12.
    """

    def __init__(self, params: MtcnnParams, network_face: int = NETWORK_FACE) -> None:
        import torch
        from facenet_pytorch import MTCNN

        super().__init__(params, network_face)
        device = torch.device(torch_device(params.device))
        self._mtcnn = MTCNN(keep_all=True, min_face_size=network_face, device=device)

    def _detect_images(self, images_NHWC: np.ndarray) -> list[Detections]:
        if min(images_NHWC.shape[1:3]) * (_RECEPTIVE / self.network_face) < _RECEPTIVE:
            return [_NONE] * len(images_NHWC)  # facenet-pytorch raises an error where no face has room
        found = []
        for boxes, scores, points in zip(*self._mtcnn.detect(images_NHWC, landmarks=True), strict=True):
            if boxes is None or points is None:
                found.append(_NONE)
                continue
            all_ = Detections(*(np.asarray(values, np.float32) for values in (boxes, scores, points)))
            found.append(all_.select(all_.scores_N >= self.params.min_probability))
        return found


def build_mtcnn(params: MtcnnParams, context: BuildContext) -> MtcnnLocator:
    """Builds the component `faces/mtcnn`."""
    return MtcnnLocator(params)
