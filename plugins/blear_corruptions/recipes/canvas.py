"""Resizes a batch in which every image has its own size. All tensors have fixed shapes.

A canvas holds an image in its upper left corner. The rest of the canvas repeats the last row and column, so that a blur
or an 8 x 8 block at the border has the values of a padded image. A resize is two batched matrix products; the matrices
depend on each image's sizes and are equal to torch's `interpolate` without antialiasing, as in Real-ESRGAN.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

AREA, BILINEAR, BICUBIC = range(3)
_A = -0.75  # parameter of the cubic kernel in torch and OpenCV


@dataclass(frozen=True)
class Canvas:
    """N images of their own sizes.

    Attributes:
        images_NCHW: float32, the canvases.
        rows_N, columns_N: int64, size of the image on each canvas.
    """

    images_NCHW: Tensor
    rows_N: Tensor
    columns_N: Tensor

    @classmethod
    def full(cls, images_NCHW: Tensor) -> Canvas:
        """Returns a canvas for images that fill it."""
        batch, _, height, width = images_NCHW.shape
        device = images_NCHW.device
        return cls(images_NCHW, torch.full((batch,), height, device=device), torch.full((batch,), width, device=device))

    def with_images(self, images_NCHW: Tensor) -> Canvas:
        """Returns a canvas with other images of the same sizes."""
        return Canvas(images_NCHW, self.rows_N, self.columns_N)

    def resized(self, rows_N: Tensor, columns_N: Tensor, mode_N: Tensor, height: int, width: int) -> Canvas:
        """Returns each image resized to its rows and columns, on canvases of height x width.

        Args:
            rows_N, columns_N: int64, at least 1; parts outside the canvas are cut off.
            mode_N: int64, `AREA` (adaptive mean), `BILINEAR` or `BICUBIC`.
            height, width: of the new canvases, in pixels.
        """
        full_rows, full_columns = self.images_NCHW.shape[-2:]
        down = resize_matrices(self.rows_N, rows_N, mode_N, full_rows, height)
        across = resize_matrices(self.columns_N, columns_N, mode_N, full_columns, width)
        images = down[:, None] @ (self.images_NCHW @ across.mT[:, None])
        return Canvas(images, rows_N.clamp(max=height), columns_N.clamp(max=width))

    def inside(self) -> Tensor:
        """Returns bool [N, 1, H, W]: true for the pixels that belong to the image."""
        height, width = self.images_NCHW.shape[-2:]
        rows = torch.arange(height, device=self.rows_N.device)[:, None]
        columns = torch.arange(width, device=self.rows_N.device)
        return ((rows < self.rows_N[:, None, None]) & (columns < self.columns_N[:, None, None]))[:, None]


def resize_matrices(from_N: Tensor, to_N: Tensor, mode_N: Tensor, size: int, out: int) -> Tensor:
    """Returns matrices that resize the first `from_N` pixels of an axis to `to_N`, float32 [N, out, size].

    Rows after the first `to_N` repeat the last row.

    Args:
        from_N, to_N, mode_N: int64.
        size: columns of a matrix: length of the old canvas.
        out: rows of a matrix: length of the new canvas.
    """
    device = from_N.device
    given, wanted, mode = from_N[:, None], to_N[:, None], mode_N[:, None]
    o = torch.minimum(torch.arange(out, device=device), wanted - 1)  # [N, out]
    place = (o + 0.5) * (given / wanted) - 0.5
    place = torch.where(mode == BILINEAR, place.clamp(min=0), place)
    first = place.floor()
    t = (place - first)[..., None]
    distance = (torch.arange(-1, 3, device=device) - t).abs()  # [N, out, 4]
    near = ((_A + 2) * distance - (_A + 3)) * distance**2 + 1
    far = ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
    cubic = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0))
    weights = torch.where((mode == BILINEAR)[..., None], (1 - distance).clamp(min=0), cubic)
    taps = (first[..., None].long() + torch.arange(-1, 3, device=device)).clamp(min=0)
    taps = torch.minimum(taps, given[..., None] - 1)
    matrix = torch.zeros(len(from_N), out, size, device=device).scatter_add(2, taps, weights)
    i = torch.arange(size, device=device)
    start, end = o * given // wanted, -(-(o + 1) * given // wanted)  # first and last input pixel under an output pixel
    covered = (i >= start[..., None]) & (i < end[..., None])
    mean = covered / (end - start)[..., None]
    return torch.where((mode == AREA)[..., None], mean, matrix)
