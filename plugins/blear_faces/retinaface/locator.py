"""The locator `faces/retinaface`: faces from a few pixels on, with five landmarks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.ops import nms

from blear.contracts import BuildContext
from blear.imaging import Box
from blear_faces.face import BatchLocator, Face, torch_device
from blear_faces.params import RetinaFaceParams
from blear_faces.retinaface.network import ANCHORS, STRIDES, RetinaFace

NETWORK_FACE = 18
"""Side in pixels of the smallest face that the network finds reliably."""
_WEIGHTS = Path(__file__).with_name("mobilenet0.25.safetensors")
_MEAN_BGR = (104.0, 117.0, 127.0)
_CENTRE, _SIZE = 0.1, 0.2  # scales of the offsets of centres and of the logarithms of sizes
_OVERLAP = 0.4
_CANDIDATES = 5000


class RetinaFaceLocator(BatchLocator):
    """RetinaFace on batches of frames of one size.

    Frames are resized so that the smallest face that is asked for has the size of the smallest one that the network
    finds; boxes and landmarks are in pixels of the frame.

    Args:
        params: see `RetinaFaceParams`.
    """

    def __init__(self, params: RetinaFaceParams) -> None:
        self.params, self.device = params, torch.device(torch_device(params.device))
        self._network = RetinaFace().eval()
        self._network.load_state_dict(load_file(_WEIGHTS))
        self._network.requires_grad_(False).to(self.device).to(memory_format=torch.channels_last)

    def _detect(self, frames_THWC: np.ndarray) -> Iterator[list[Face]]:
        scale = self._scale(*frames_THWC.shape[1:3])
        pixels = scale * scale * frames_THWC.shape[1] * frames_THWC.shape[2]
        size = max(1, int(self.params.batch_pixels / max(1.0, pixels)))
        for first in range(0, len(frames_THWC), size):
            yield from self._detect_batch(frames_THWC[first : first + size], scale)

    def _scale(self, height: int, width: int) -> float:
        return min(NETWORK_FACE / self.params.min_face, self.params.max_side / max(height, width))

    @torch.inference_mode()
    def _detect_batch(self, frames_THWC: np.ndarray, scale: float) -> list[list[Face]]:
        images = self._input(frames_THWC, scale)
        found = []
        scores_NA, boxes_NA4, points_NA10 = (output.float().cpu() for output in self._network(images))
        anchors_A4 = _anchors(*images.shape[2:])
        for scores_A, boxes_A4, points_A10 in zip(scores_NA, boxes_NA4, points_NA10, strict=True):
            (kept,) = torch.nonzero(scores_A >= self.params.min_probability, as_tuple=True)
            kept = kept[scores_A[kept].argsort(descending=True, stable=True)[:_CANDIDATES]]
            corners = _corners(boxes_A4[kept], anchors_A4[kept])
            steps = points_A10[kept].unflatten(1, (5, 2)) * _CENTRE
            points = anchors_A4[kept, None, :2] + steps * anchors_A4[kept, None, 2:]
            best = nms(corners, scores_A[kept], _OVERLAP)
            found.append(self._faces(corners[best] / scale, scores_A[kept][best], points[best] / scale))
        return found

    def _input(self, frames_THWC: np.ndarray, scale: float) -> Tensor:
        """BGR float32 [T, 3, H', W'], resized, minus the mean, padded with zeros to multiples of 32."""
        height, width = (max(1, round(side * scale)) for side in frames_THWC.shape[1:3])
        rows, columns = (math.ceil(side / STRIDES[-1]) * STRIDES[-1] for side in (height, width))
        images = np.zeros((len(frames_THWC), rows, columns, 3), np.float32)
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        for image, frame in zip(images, frames_THWC, strict=True):
            small = frame if scale == 1 else cv2.resize(frame, (width, height), interpolation=interpolation)
            image[:height, :width] = small[..., ::-1]
            image[:height, :width] -= _MEAN_BGR
        return torch.from_numpy(images).permute(0, 3, 1, 2).to(self.device)

    def _faces(self, corners_N4: Tensor, scores_N: Tensor, points_N52: Tensor) -> list[Face]:
        faces = []
        for (left, top, right, bottom), score, points in zip(
            corners_N4.tolist(), scores_N.tolist(), points_N52.numpy(), strict=True
        ):
            faces.append(Face(Box(left, top, right - left, bottom - top), score, points.copy()))
        return faces


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
