"""Gaussian blur with a random kernel and with probability p for each clip, as two batched matrix products."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from blear.contracts import BuildContext, DrawKeys, Draws, not_compiled
from blear.errors import PluginError
from blear.separable import Operators, SeparableBank, from_operation
from blear_corruptions.blur.params import RandomBlurParams
from blear_corruptions.blur.separable_filter import blur_with_kornia, uses_kornia


class RandomBlur:
    """Blurs a clip with a Gaussian kernel whose height and width are drawn independently.

    The weights are those of OpenCV for sigma 0: sigma = 0.3 ((size - 1) / 2 - 1) + 0.8, and OpenCV's table of rounded
    weights for small sizes. The border is mirrored without the edge, as in OpenCV.

    Raises:
        PluginError: the frames are not larger than half a kernel. Raised here if the clip's shape is known, otherwise
            in `apply`.
    """

    def __init__(self, params: RandomBlurParams, context: BuildContext) -> None:
        self._p, self._kernels = params.p, params.kernels
        self._banks: dict[tuple[int, int], SeparableBank] = {}
        if context.clip is not None:
            self._make_bank(context.clip.height, context.clip.width)

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `index`, int64 [B]: 0 is no blur; 1 + i n + j is the i-th of n sizes as height, the j-th as width."""
        n = len(self._kernels)
        chosen, height, width = torch.from_numpy(keys.uniform(3)).T
        index = 1 + (height * n).long() * n + (width * n).long()
        return {"index": torch.where(chosen < self._p, index, 0)}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape, in [0, 1]: an average of values stays in their range."""
        if uses_kornia(frames_BTCHW):
            self._check(*frames_BTCHW.shape[-2:])
            rows_BK, columns_BK = self.weights(draws["index"])
            return blur_with_kornia(frames_BTCHW, rows_BK, columns_BK, "reflect")
        return self._bank(*frames_BTCHW.shape[-2:])(frames_BTCHW, draws["index"])

    def operators(self, draws: Draws, height: int, width: int) -> Operators:
        """Returns one matrix for each axis."""
        return self._bank(height, width).operators(draws["index"])

    def weights(self, index_B: Tensor) -> tuple[Tensor, Tensor]:
        """Returns each clip's weights along the height and along the width, both float32 [B, largest kernel]."""
        sizes = (1, *self._kernels)
        largest = max(sizes)
        padded = [pad(gaussian_weights(size), ((largest - size) // 2,) * 2) for size in sizes]
        stack = torch.stack(padded).float().to(index_B.device)
        n, pair = len(self._kernels), index_B - 1
        rows, columns = (torch.where(index_B > 0, 1 + place, 0) for place in (pair // n, pair % n))
        return stack[rows], stack[columns]

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: an augmentation has no severity to sweep."""
        return ()

    def _bank(self, height: int, width: int) -> SeparableBank:
        if (height, width) not in self._banks:
            self._make_bank(height, width)
        return self._banks[height, width]

    @not_compiled
    def _make_bank(self, height: int, width: int) -> None:
        self._check(height, width)
        pairs = [(1, 1), *itertools.product(self._kernels, repeat=2)]
        self._banks[height, width] = SeparableBank(
            [(_matrix(height, rows),) for rows, _ in pairs], [(_matrix(width, columns),) for _, columns in pairs]
        )

    def _check(self, height: int, width: int) -> None:
        largest = max(self._kernels)
        if largest // 2 >= min(height, width):
            what = f"a kernel of {largest} pixels does not fit into frames of {height} x {width}"
            raise PluginError(
                what, "corruptions/random_blur", f"use kernels of at most {2 * min(height, width) - 1} pixels"
            )


def gaussian_weights(kernel: int) -> Tensor:
    """Returns OpenCV's weights of a Gaussian of `kernel` pixels, float64 [kernel]."""
    return torch.from_numpy(cv2.getGaussianKernel(kernel, 0, cv2.CV_64F))[:, 0]


def _matrix(size: int, kernel: int) -> Tensor:
    """Returns the blur along one axis of `size` pixels as a matrix, float64 [size, size]."""
    weights = gaussian_weights(kernel)[None, None, :, None]
    border = (0, 0, kernel // 2, kernel // 2)
    return from_operation(lambda image: conv2d(pad(image, border, mode="reflect"), weights), size)
