"""Digital corruptions of ImageNet-C: elastic transform, pixelate, JPEG compression."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blear.separable import SeparableBank
from blear_corruptions.compression.codec import soft_jpeg
from blear_corruptions.imagenet_c.blur import gaussian_bank
from blear_corruptions.imagenet_c.operation import Operation
from blear_corruptions.imagenet_c.resampling import sample
from blear_corruptions.random_patterns import uniform_pattern


class ElasticTransform(Operation):
    """A random affine map, then a smoothed random displacement of every pixel.

    The table's numbers are multiplied by the frames' shorter side and equal the authors' at 224, 64 and 32 pixels.
    """

    moves_content = True

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP * min(height, width), height, width)
        self._smooth = gaussian_bank(self.rows_KP[:, 1], height, width, "symmetric", 3.0)

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns shifts of three corners (x and y), then displacements right and down, [M, 6 + 2 H W], in pixels."""
        amplitude, _, corner = (strength[:, :, 0, 0] for strength in self.strengths(index_M))
        shifts = (2 * uniform_pattern(keys_M, (6,)) - 1) * corner
        moves_M2HW = 2 * uniform_pattern(keys_M, (2, self.height, self.width), stream=1) - 1
        smooth_M2HW = self._smooth(moves_M2HW[:, None], index_M)[:, 0]
        return torch.cat([shifts, smooth_M2HW.flatten(1) * amplitude], dim=1)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns the warped images."""
        device = images_NCHW.device
        rows = torch.arange(self.height, device=device)[:, None]
        columns = torch.arange(self.width, device=device)
        (a, b, c), (d, e, f) = (line.unbind(dim=1) for line in self._back(pattern_N[:, :6])[..., None, None].unbind(1))
        images = sample(images_NCHW, d * columns + e * rows + f, a * columns + b * rows + c)
        right, down = pattern_N[:, 6:].unflatten(1, (2, self.height, self.width)).unbind(dim=1)
        return sample(images, rows + down, columns + right, mirror_edge=True)

    def _back(self, shifts_N6: Tensor) -> Tensor:
        """Returns the affine map from (x, y, 1) of the warped image to (x, y) of the given image, [N, 2, 3]."""
        middle_x, middle_y = self.height // 2, self.width // 2  # swapped as in the authors' script
        reach = min(self.height, self.width) // 3
        corners = [[middle_x + reach, middle_y + reach], [middle_x + reach, middle_y - reach]]
        corners_32 = torch.tensor(
            [*corners, [middle_x - reach, middle_y - reach]], dtype=torch.float32, device=shifts_N6.device
        )
        moved_N32 = corners_32 + shifts_N6.unflatten(1, (3, 2))
        ones = torch.ones_like(moved_N32[..., :1])
        return torch.linalg.solve(torch.cat([moved_N32, ones], dim=-1), corners_32.expand_as(moved_N32)).mT


class Pixelate(Operation):
    """Shrinks to int(side x factor) pixels with Pillow's box filter and enlarges again, both as matrices."""

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        self._bank = SeparableBank(
            [_down_up(height, factor) for factor in rows_KP[:, 0]],
            [_down_up(width, factor) for factor in rows_KP[:, 0]],
        )

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with larger pixels."""
        return self._bank(images_NCHW[:, None], index_N)[:, 0]


class JpegCompression(Operation):
    """Differentiable JPEG on the device (Reich et al. 2024, as in kornia): libjpeg's standard tables, 4:2:0.

    The result differs from libjpeg in three ways. Coefficients are rounded with a cubic remainder, at most 1/8 of a
    step, which carries the gradient. The cosine transform and the colours are not rounded to whole numbers. Chroma is
    enlarged bilinearly. Grey frames are encoded as RGB with three equal channels.
    """

    channels = (1, 3)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns the decoded images."""
        (quality,) = self.strengths(index_N)
        return soft_jpeg(images_NCHW, quality.flatten())


def _down_up(side: int, factor: float) -> tuple[Tensor, Tensor]:
    small = max(1, int(side * factor))
    return _box(side, small), _box(small, side)


def _box(side: int, out: int) -> Tensor:
    identity = Image.fromarray(np.eye(side, dtype=np.float32))
    return torch.from_numpy(np.array(identity.resize((out, side), Image.Resampling.BOX)).T.astype(np.float64))
