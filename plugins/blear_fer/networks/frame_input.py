"""Input layer of the networks: resizes frames, repeats grey to three channels, normalises."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from blear.contracts import BuildContext
from blear.errors import PluginError
from blear_fer.networks.params import FrameParams, Normalisation

FER2013_MEAN, FER2013_STD = 0.507395516207, 0.255128989415
VGGFACE_BGR = (93.594, 104.762, 129.186)
CAFFE_BGR = (103.939, 116.779, 123.68)
CAFFE_TEST_BGR = (104.0, 117.0, 123.0)

_STATISTICS: dict[Normalisation, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "fer2013": ((FER2013_MEAN,) * 3, (FER2013_STD,) * 3),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "center_loss": ((127.5 / 255,) * 3, (128 / 255,) * 3),
    "legacy_first_channel_only": ((FER2013_MEAN, 0.0, 0.0), (FER2013_STD, 1.0, 1.0)),
    "vggface_preproc": ((VGGFACE_BGR[0] / 255, VGGFACE_BGR[1] / 255, VGGFACE_BGR[2] / 255), (1 / 255,) * 3),
    "caffe": ((CAFFE_BGR[0] / 255, CAFFE_BGR[1] / 255, CAFFE_BGR[2] / 255), (1 / 255,) * 3),
    "caffe_test": ((CAFFE_TEST_BGR[0] / 255, CAFFE_TEST_BGR[1] / 255, CAFFE_TEST_BGR[2] / 255), (1 / 255,) * 3),
}


class FrameInput(nn.Module):
    """Frames [B, T, 1 or 3, H, W] in [0, 1] -> [B * T, 3, height, width]. A single channel is repeated.

    Raises:
        PluginError: the clip's shape is unknown, or it has neither one nor three channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, params: FrameParams, normalise: Normalisation, context: BuildContext, name: str) -> None:
        super().__init__()
        if context.clip is None:
            raise PluginError(
                "needs the shape of the clips to be built", name, "build it with a context that has `clip`"
            )
        if context.clip.channels not in (1, 3):
            what = f"takes grey or RGB frames, not {context.clip.channels} channels"
            raise PluginError(what, name, "use data with one or three channels")
        self.height, self.width = params.size or (context.clip.height, context.clip.width)
        self._bgr = normalise in ("vggface_preproc", "caffe", "caffe_test")
        mean, std = _STATISTICS[normalise]
        # persistent=False: a checkpoint can be loaded with another normalisation
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Frames [B * T, 3, height, width]."""
        frames_NCHW = frames_BTCHW.flatten(0, 1)
        if frames_NCHW.shape[-2:] != (self.height, self.width):
            size = (self.height, self.width)
            frames_NCHW = interpolate(frames_NCHW, size, mode="bilinear", antialias=True, align_corners=False)
        frames_NCHW = frames_NCHW.expand(-1, 3, -1, -1)
        return ((frames_NCHW.flip(1) if self._bgr else frames_NCHW) - self.mean) / self.std
