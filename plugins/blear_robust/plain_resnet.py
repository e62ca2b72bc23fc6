"""A ResNet-9-shaped network: plain 3x3 convolutions, batch normalisation, ReLU, residual pairs."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from blear.contracts import BuildContext, ClipSpec, Features
from blear.errors import PluginError
from blear_robust.params import PlainResNetParams

_NAME = "robust/plain_resnet"


class PlainResNet(nn.Module):
    """Frames [B, T, C, H, W] -> `embedding` [B, T, D] and the maps `stage1`, `stage2`, ... [B, T, c, h, w].

    Each frame is processed independently. A stage is one 3x3 convolution (stride 2 after the first stage), then
    residual blocks of two 3x3 convolutions; every convolution is followed by batch normalisation and ReLU. The
    embedding is the mean of the last map. The network accepts every size of at least 2^(stages - 1) pixels.

    Raises:
        PluginError: the clip's shape is unknown, or `mean` or `std` does not fit its channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, params: PlainResNetParams, context: BuildContext) -> None:
        super().__init__()
        if context.clip is None:
            raise PluginError("needs the shape of the clips to be built", _NAME, "build it with a context with `clip`")
        self._register("mean", params.mean, context.clip)
        self._register("std", params.std, context.clip)
        channels = [context.clip.channels, *(max(1, round(n * params.width)) for n in params.channels)]
        self.stages = nn.ModuleList(
            nn.Sequential(
                _convolution(inputs, outputs, 1 if number == 0 else 2), *(_Residual(outputs) for _ in range(blocks))
            )
            for number, ((inputs, outputs), blocks) in enumerate(zip(pairwise(channels), params.blocks, strict=True))
        )

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """See the class."""
        x = (frames_BTCHW.flatten(0, 1) - self.mean) / self.std
        features = {}
        for number, stage in enumerate(self.stages, 1):
            x = stage(x)
            features[f"stage{number}"] = x
        features["embedding"] = x.mean(dim=(-2, -1))
        return {name: value.unflatten(0, frames_BTCHW.shape[:2]) for name, value in features.items()}

    def _register(self, name: str, value: float | tuple[float, ...], clip: ClipSpec) -> None:
        numbers = [value] if isinstance(value, float) else list(value)
        if len(numbers) not in (1, clip.channels):
            what = f"{len(numbers)} values of `{name}` for frames of {clip.channels} channels"
            raise PluginError(what, _NAME, "give one number, or one for each channel")
        self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1), persistent=False)


class _Residual(nn.Module):
    """x + f(x), where f is two convolutions, each with batch normalisation and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(channels, channels), _convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same shape."""
        return x + self.second(self.first(x))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution without bias, batch normalisation, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
