"""RetinaFace in PyTorch, for GPUs and for bfloat16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from blear_faces.retinaface.locator import MEAN_RGB, MIDDLE
from blear_faces.retinaface.network import RetinaFace

WEIGHTS = Path(__file__).with_name("mobilenet0.25.safetensors")


class TorchNetwork(nn.Module):
    """The network on pictures of the locator.

    Args:
        device: of torch.
        precision: "float32" or "bfloat16".
    """

    def __init__(self, device: str, precision: str) -> None:
        super().__init__()
        self.network = RetinaFace().eval()
        self.network.load_state_dict(load_file(WEIGHTS))
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.network.requires_grad_(False).to(self._dtype)
        _accept_rgb(self.network.first)
        self.network.to(torch.device(device)).to(memory_format=torch.channels_last)

    def forward(self, images_NHWC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `RetinaFace.forward`; int8 [N, H + 2, W + 2, 3], RGB minus 128 with a border of one pixel."""
        scores_NA, boxes_NA4, points_NA10 = self.network(images_NHWC.permute(0, 3, 1, 2).to(self._dtype))
        return scores_NA.float(), boxes_NA4.float(), points_NA10.float()

    @torch.inference_mode()
    def run(self, images_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same on arrays."""
        images = torch.from_numpy(images_NHWC).to(self.network.first.weight.device)
        scores_NA, boxes_NA4, points_NA10 = self(images)
        return scores_NA.cpu().numpy(), boxes_NA4.cpu().numpy(), points_NA10.cpu().numpy()


def _accept_rgb(first: nn.Conv2d) -> None:
    """Changes the first layer: RGB minus 128 instead of BGR minus the mean, and no padding."""
    weight = first.weight.data.flip(1)
    shift = (weight.double() * (torch.tensor(MEAN_RGB) - MIDDLE)[:, None, None]).sum(dim=(1, 2, 3))
    first.weight.data = weight.contiguous()
    assert first.bias is not None
    first.bias.data = (first.bias.data.double() - shift).to(weight.dtype)
    first.padding = (0, 0)
