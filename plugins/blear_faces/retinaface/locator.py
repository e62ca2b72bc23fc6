"""The locator `faces/retinaface`: faces from a few pixels on, with five landmarks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from blear.contracts import BuildContext
from blear_faces.face import torch_device
from blear_faces.locator_params import RetinaFaceParams
from blear_faces.retinaface.network import ANCHORS, STRIDES, RetinaFace
from blear_faces.scaled import Detections, ScaledLocator

NETWORK_FACE = 18
"""Side in pixels of the smallest face that the network finds reliably."""
_WEIGHTS = Path(__file__).with_name("mobilenet0.25.safetensors")
_MEAN_BGR = (104.0, 117.0, 127.0)
_CENTRE, _SIZE = 0.1, 0.2  # scales of the offsets of centres and of the logarithms of sizes
_CANDIDATES = 5000


class RetinaFaceLocator(ScaledLocator):
    """RetinaFace on batches of frames of one size.

    Args:
        params: see `RetinaFaceParams`.
    """

    def __init__(self, params: RetinaFaceParams) -> None:
        super().__init__(params, NETWORK_FACE)
        self.device = torch.device(torch_device(params.device))
        self._network = RetinaFace().eval()
        self._network.load_state_dict(load_file(_WEIGHTS))
        self._network.requires_grad_(False).to(self.device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def _detect_images(self, images_NHWC: np.ndarray) -> list[Detections]:
        images_NCHW = self._input(images_NHWC)
        found = []
        scores_NA, boxes_NA4, points_NA10 = (output.float().cpu() for output in self._network(images_NCHW))
        anchors_A4 = _anchors(*images_NCHW.shape[2:])
        for scores_A, boxes_A4, points_A10 in zip(scores_NA, boxes_NA4, points_NA10, strict=True):
            (kept,) = torch.nonzero(scores_A >= self.params.min_probability, as_tuple=True)
            kept = kept[scores_A[kept].argsort(descending=True, stable=True)[:_CANDIDATES]]
            corners = _corners(boxes_A4[kept], anchors_A4[kept])
            steps = points_A10[kept].unflatten(1, (5, 2)) * _CENTRE
            points = anchors_A4[kept, None, :2] + steps * anchors_A4[kept, None, 2:]
            found.append(Detections(corners.numpy(), scores_A[kept].numpy(), points.numpy()).distinct())
        return found

    def _input(self, images_NHWC: np.ndarray) -> Tensor:
        """BGR float32 [N, 3, H', W'] minus the mean, padded with zeros to multiples of 32."""
        count, height, width = images_NHWC.shape[:3]
        rows, columns = (math.ceil(side / STRIDES[-1]) * STRIDES[-1] for side in (height, width))
        padded = np.zeros((count, rows, columns, 3), np.float32)
        padded[:, :height, :width] = images_NHWC[..., ::-1]
        padded[:, :height, :width] -= np.asarray(_MEAN_BGR, np.float32)
        return torch.from_numpy(padded).permute(0, 3, 1, 2).to(self.device)


def build_retinaface(params: RetinaFaceParams, context: BuildContext) -> RetinaFaceLocator:
    """Builds the component `faces/retinaface`."""
    return RetinaFaceLocator(params)


def _anchors(height: int, width: int) -> Tensor:
    """Centre x, centre y, width, height of all anchors in pixels, float32 [A, 4]."""
    levels = []
    for stride, sides in zip(STRIDES, ANCHORS, strict=True):
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        centres = (torch.stack((x, y), dim=-1).reshape(-1, 1, 2) + 0.5) * stride
        sizes = torch.tensor(sides, dtype=torch.float32)[None, :, None].expand(len(centres), -1, 2)
        levels.append(torch.cat((centres.expand(-1, len(sides), -1), sizes), dim=-1).reshape(-1, 4))
    return torch.cat(levels)


def _corners(offsets_N4: Tensor, anchors_N4: Tensor) -> Tensor:
    centres = anchors_N4[:, :2] + offsets_N4[:, :2] * _CENTRE * anchors_N4[:, 2:]
    halves = anchors_N4[:, 2:] * (offsets_N4[:, 2:] * _SIZE).exp() / 2
    return torch.cat((centres - halves, centres + halves), dim=1)
