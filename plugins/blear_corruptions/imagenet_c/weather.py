"""Weather of ImageNet-C: fog, frost and snow."""

from __future__ import annotations

import numpy as np
import torch
from kornia.color import rgb_to_grayscale
from torch import Tensor

from blear_corruptions.imagenet_c.operation import Operation
from blear_corruptions.imagenet_c.plasma import plasma_pattern
from blear_corruptions.imagenet_c.resampling import sample, trail, zoom_line
from blear_corruptions.random_patterns import normal_pattern, uniform_pattern

_FROST = (0.86, 0.94, 1.0)
_FROST_DECAY = 1.7


def tinted(colour: tuple[float, float, float], images_NCHW: Tensor) -> Tensor:
    """Returns the colour for RGB images, or its grey value for grey images, [1, C, 1, 1]."""
    rgb = torch.tensor(colour, device=images_NCHW.device).view(1, 3, 1, 1)
    return rgb if images_NCHW.shape[1] == 3 else rgb_to_grayscale(rgb)


class Fog(Operation):
    """Adds a plasma fractal, and scales the sum to the image's former maximum."""

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns fog in [0, 1], [M, 1, H, W]."""
        _, decay = self.strengths(index_M)
        return plasma_pattern(keys_M, decay[:, 0], self.height, self.width)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with fog."""
        thickness, _ = self.strengths(index_N)
        brightest = images_NCHW.amax(dim=(1, 2, 3), keepdim=True)
        return (images_NCHW + thickness * pattern_N) * brightest / (brightest + thickness)


class Frost(Operation):
    """A mixture of the image and frost in the table's proportions.

    The original crops frost from six photographs. Here frost is generated: crystals along the middle heights of one
    plasma fractal over the haze of another, bluish white, with means of 0.3 to 0.65. The mixing is the original's.
    """

    channels = (1, 3)

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns frost in [0, 1], [M, 1, H, W]."""
        decay = torch.full((len(keys_M), 1, 1), _FROST_DECAY, device=keys_M.device)
        crystals, haze = (plasma_pattern(keys_M, decay, self.height, self.width, stream) for stream in (0, 1))
        return 0.7 * (1 - (2 * crystals - 1).abs()) ** 2 + 0.3 * haze

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with frost."""
        image, frost = self.strengths(index_N)
        return image * images_NCHW + frost * pattern_N * tinted(_FROST, images_NCHW)


class Snow(Operation):
    """Whitens the image and adds flakes with trails, and the same flakes rotated by 180 degrees."""

    channels = (1, 3)

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        lines = [(*zoom_line(height, factor), *zoom_line(width, factor)) for factor in rows_KP[:, 2]]
        self._lines_K4 = torch.tensor(lines)
        self._longest = int(np.rint(rows_KP[:, 4]).max())

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns flakes in [0, 1], [M, 1, H, W]; they fall at a uniform angle, -135 to -45 degrees from the right."""
        _, _, _, _, radius, sigma, _ = self.strengths(index_M)
        flakes = self.flakes(normal_pattern(keys_M, (1, self.height, self.width)), index_M)
        direction = uniform_pattern(keys_M, (1, 1, 1), stream=1) * 90 - 135
        return trail(flakes, radius.round(), sigma, direction, self._longest)

    def flakes(self, normal_M1HW: Tensor, index_M: Tensor) -> Tensor:
        """Returns flakes without trails in [0, 1], [M, 1, H, W], from standard normal numbers."""
        mean, deviation, _, threshold, _, _, _ = self.strengths(index_M)
        top, down, left, right = self._lines_K4.to(index_M.device)[index_M][..., None, None].unbind(dim=1)
        rows = torch.arange(self.height, device=index_M.device)[:, None]
        columns = torch.arange(self.width, device=index_M.device)
        flakes = sample(mean + deviation * normal_M1HW, top + down * rows, left + right * columns)
        return torch.where(flakes < threshold, 0, flakes).clamp(0, 1)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with snow."""
        kept = self.strengths(index_N)[6]
        grey = images_NCHW if images_NCHW.shape[1] == 1 else rgb_to_grayscale(images_NCHW)
        white = torch.maximum(images_NCHW, grey * 1.5 + 0.5)
        return kept * images_NCHW + (1 - kept) * white + pattern_N + pattern_N.flip(2, 3)
