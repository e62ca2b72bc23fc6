"""The network of RetinaFace (Deng et al. 2020, "RetinaFace: Single-shot Multi-level Face Localisation in the Wild").

Layers as in Pytorch_Retinaface (biubug6), with a MobileNet v1 of width 0.25. Batch normalisation is part of the
convolutions' weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from blear_faces.retinaface.locator import STRIDES

_CHANNELS = 64
_FUSED = getattr(torch.ops.mkldnn, "_convolution_pointwise", None) if torch.backends.mkldnn.is_available() else None


class RetinaFace(nn.Module):
    """Scores, boxes and landmarks of all anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            _conv(3, 8, 3, 2), _separable(8, 16), _separable(16, 32, 2), _separable(32, 32), _separable(32, 64, 2),
            _separable(64, 64),
        )  # fmt: skip
        self.stage2 = nn.Sequential(_separable(64, 128, 2), *(_separable(128, 128) for _ in range(5)))
        self.stage3 = nn.Sequential(_separable(128, 256, 2), _separable(256, 256))
        self.lateral = nn.ModuleList(_conv(channels, _CHANNELS, 1) for channels in (64, 128, 256))
        self.merge2, self.merge1 = _conv(_CHANNELS, _CHANNELS, 3), _conv(_CHANNELS, _CHANNELS, 3)
        self.context = nn.ModuleList(_Context() for _ in STRIDES)
        self.scores, self.boxes, self.points = (
            nn.ModuleList(_Convolution(_CHANNELS, 2 * numbers, 1) for _ in STRIDES) for numbers in (2, 4, 10)
        )

    @property
    def first(self) -> nn.Conv2d:
        """The first layer."""
        return next(module for module in self.modules() if isinstance(module, nn.Conv2d))

    def forward(self, images_NCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The outputs of A anchors, level by level, row by row, the two sides of a place one after the other.

        Args:
            images_NCHW: BGR, float32 minus (104, 117, 127); height and width are multiples of 32.

        Returns:
            Probability of a face [N, A]; offsets of the box [N, A, 4] and of five points [N, A, 10] from the anchors.
        """
        level1 = self.stage1(images_NCHW)
        level2 = self.stage2(level1)
        level3 = self.stage3(level2)
        sides = [lateral(level) for lateral, level in zip(self.lateral, (level1, level2, level3), strict=True)]
        sides[1] = self.merge2(sides[1] + interpolate(sides[2], size=sides[1].shape[2:], mode="nearest"))
        sides[0] = self.merge1(sides[0] + interpolate(sides[1], size=sides[0].shape[2:], mode="nearest"))
        features = [context(side) for context, side in zip(self.context, sides, strict=True)]
        scores, boxes, points = (
            torch.cat([_rows(head(feature), numbers) for head, feature in zip(heads, features, strict=True)], dim=1)
            for heads, numbers in ((self.scores, 2), (self.boxes, 4), (self.points, 10))
        )
        return scores.softmax(dim=-1)[..., 1], boxes, points


class _Context(nn.Module):
    """Three receptive fields of one level, side by side (the context module of SSH)."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = _CHANNELS // 2, _CHANNELS // 4
        self.small = _Convolution(_CHANNELS, half, 3, padding=1)
        self.shared = _conv(_CHANNELS, quarter, 3)
        self.middle = _Convolution(quarter, quarter, 3, padding=1)
        self.before_large = _conv(quarter, quarter, 3)
        self.large = _Convolution(quarter, quarter, 3, padding=1)

    def forward(self, level: Tensor) -> Tensor:
        shared = self.shared(level)
        parts = (self.small(level), self.middle(shared), self.large(self.before_large(shared)))
        return torch.cat(parts, dim=1).relu()


class _Convolution(nn.Conv2d):
    """A convolution, and a leaky ReLU where `slope` is not None, as one step of oneDNN on CPUs.

    PyTorch computes 1x1 convolutions of few images by its slowest method where it has one thread.
    """

    slope: float | None = None

    def forward(self, level_NCHW: Tensor) -> Tensor:
        if level_NCHW.device.type != "cpu" or _FUSED is None or torch.is_grad_enabled():
            out = super().forward(level_NCHW)
            return out if self.slope is None else leaky_relu(out, self.slope)
        after = ("none", [], "") if self.slope is None else ("leaky_relu", [self.slope], "")
        shape = (list(self.padding), list(self.stride), list(self.dilation), self.groups)
        return _FUSED(level_NCHW, self.weight, self.bias, *shape, *after)


def _conv(channels: int, out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = _Convolution(channels, out, size, stride, padding=size // 2, groups=groups)
    convolution.slope = 0.1
    return nn.Sequential(convolution)


def _separable(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(channels, channels, 3, stride, groups=channels), _conv(channels, out, 1))


def _rows(output_NCHW: Tensor, numbers: int) -> Tensor:
    return output_NCHW.permute(0, 2, 3, 1).reshape(output_NCHW.shape[0], -1, numbers)
