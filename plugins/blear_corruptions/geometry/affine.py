"""A small random rotation, magnification and shift as one bilinear resampling, with one draw for each clip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from blear.contracts import BuildContext, DrawKeys, Draws
from blear_corruptions.geometry.params import RandomAffineParams


class RandomAffine:
    """Rotates a clip about its centre, magnifies it, then shifts it. Uncovered pixels repeat the border."""

    moves_content = True

    def __init__(self, params: RandomAffineParams, context: BuildContext) -> None:
        self._params = params

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns `angle`, `scale`, `right` and `down`, each float32 [B].

        `angle`: radians, counter-clockwise on the screen; `scale`: magnification; `right`, `down`: shift as a share of
        the width and of the height.
        """
        angle, scale, right, down = torch.from_numpy(keys.uniform(4)).T
        params = self._params
        low, high = params.scale
        draws = {
            "angle": (2 * angle - 1) * math.radians(params.degrees),
            "scale": low + (high - low) * scale,
            "right": (2 * right - 1) * params.translate,
            "down": (2 * down - 1) * params.translate,
        }
        return {name: value.float() for name, value in draws.items()}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape."""
        batch, length, channels, height, width = frames_BTCHW.shape
        if not batch:  # grid_sample refuses an empty batch
            return frames_BTCHW
        cosine, sine = torch.cos(draws["angle"]) / draws["scale"], torch.sin(draws["angle"]) / draws["scale"]
        right, down = 2 * draws["right"], 2 * draws["down"]  # the grid runs from -1 to 1
        # The source of each output pixel: invert the shift, then the rotation, in square pixels.
        ratio = height / width
        from_x = torch.stack([cosine, -sine * ratio, sine * ratio * down - cosine * right], dim=1)
        from_y = torch.stack([sine / ratio, cosine, -sine / ratio * right - cosine * down], dim=1)
        planes = frames_BTCHW.reshape(batch, length * channels, height, width)
        theta_B32 = torch.stack([from_x, from_y], dim=2).to(planes.dtype)  # factors of x, of y, and 1
        across_W, down_H = (_centres(side, planes)[None, :, None] for side in (width, height))
        rows_BH2 = down_H * theta_B32[:, 1:2] + theta_B32[:, 2:]
        grid_BHW2 = rows_BH2[:, :, None] + (across_W * theta_B32[:, :1])[:, None]
        moved = grid_sample(planes, grid_BHW2, mode="bilinear", padding_mode="border", align_corners=False)
        return moved.reshape(frames_BTCHW.shape)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns no levels: an augmentation has no severity to sweep."""
        return ()


def _centres(side: int, like: Tensor) -> Tensor:
    """The coordinates of the pixels' centres along one side, which runs from -1 to 1.

    Sums of a row's and a column's part are several times faster than `affine_grid`, a matrix product for each pixel.
    """
    return (2 * torch.arange(side, dtype=like.dtype, device=like.device) + 1) / side - 1
