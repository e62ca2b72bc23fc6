"""The locator `faces/retinaface`: faces from a few pixels on, with five landmarks."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from blear.contracts import BuildContext
from blear_faces.face import torch_device
from blear_faces.locator_params import RetinaFaceParams
from blear_faces.retinaface.network import ANCHORS, STRIDES, RetinaFace
from blear_faces.scaled import Detections, ScaledLocator

NETWORK_FACE = 18
"""Side in pixels of the smallest face that the network finds reliably."""
_WEIGHTS = Path(__file__).with_name("mobilenet0.25.safetensors")
_MEAN_RGB = (127, 117, 104)
_MIDDLE = 128
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
        self._dtype = _precision(params.precision, self.device)
        self._network.requires_grad_(False).to(self._dtype)
        _accept_rgb(self._network.first)
        self._network.to(self.device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def _detect_images(self, images_NHWC: np.ndarray) -> list[Detections]:
        images_NCHW = self._input(images_NHWC)
        found = []
        scores_NA, boxes_NA4, points_NA10 = self._network(images_NCHW)
        anchors_A4 = _anchors(*(side - 2 for side in images_NCHW.shape[2:]))
        for scores_A, boxes_A4, points_A10 in zip(scores_NA.float().cpu(), boxes_NA4, points_NA10, strict=True):
            (kept,) = torch.nonzero(scores_A >= self.params.min_probability, as_tuple=True)
            kept = kept[scores_A[kept].argsort(descending=True, stable=True)[:_CANDIDATES]]
            boxes, points_10, anchors = boxes_A4[kept].float().cpu(), points_A10[kept].float().cpu(), anchors_A4[kept]
            points = anchors[:, None, :2] + points_10.unflatten(1, (5, 2)) * _CENTRE * anchors[:, None, 2:]
            corners = _corners(boxes, anchors)
            found.append(Detections(corners.numpy(), scores_A[kept].numpy(), points.numpy()).distinct())
        return found

    def _input(self, images_NHWC: np.ndarray) -> Tensor:
        """RGB minus 128 [N, 3, H' + 2, W' + 2], padded with the mean to multiples of 32 and by a pixel on each side."""
        count, height, width = images_NHWC.shape[:3]
        rows, columns = (math.ceil(side / STRIDES[-1]) * STRIDES[-1] for side in (height, width))
        padded = np.empty((count, rows + 2, columns + 2, 3), np.uint8)
        padded[:, 1 : height + 1, 1 : width + 1] = images_NHWC
        padded[:, 0] = padded[:, height + 1 :] = _MEAN_RGB
        padded[:, :, 0] = padded[:, :, width + 1 :] = _MEAN_RGB
        padded ^= _MIDDLE  # with the view as int8: minus 128
        return torch.from_numpy(padded.view(np.int8)).to(self.device).permute(0, 3, 1, 2).to(self._dtype)


def build_retinaface(params: RetinaFaceParams, context: BuildContext) -> RetinaFaceLocator:
    """Builds the component `faces/retinaface`."""
    return RetinaFaceLocator(params)


def _precision(name: str, device: torch.device) -> torch.dtype:
    """The chosen number format; "auto": bfloat16 on CPUs that multiply matrices of it (AMX), else float32."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return torch.bfloat16 if device.type == "cpu" and tiles() else torch.float32


def _accept_rgb(first: nn.Conv2d) -> None:
    """Changes the first layer: RGB minus 128 instead of BGR minus the mean, and no padding."""
    weight = first.weight.data.flip(1)
    shift = (weight.double() * (torch.tensor(_MEAN_RGB) - _MIDDLE)[:, None, None]).sum(dim=(1, 2, 3))
    first.weight.data = weight.contiguous()
    assert first.bias is not None
    first.bias.data = (first.bias.data.double() - shift).to(weight.dtype)
    first.padding = (0, 0)


@functools.lru_cache(maxsize=8)
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
