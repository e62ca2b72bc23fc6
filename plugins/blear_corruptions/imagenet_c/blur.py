"""Blurs of ImageNet-C: Gaussian, glass, zoom, motion, defocus."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
import torch
from kornia.filters import filter2d, get_gaussian_kernel1d
from torch import Tensor
from torch.nn.functional import pad

from blear.separable import SeparableBank
from blear_corruptions.imagenet_c.operation import Operation
from blear_corruptions.imagenet_c.resampling import clipped_zoom, sample, trail, zoom_line
from blear_corruptions.random_patterns import uniform_pattern

_FOLLOWED = 5  # doublings, for chains of 32 copies; a chain continues with a probability below 0.43


def gaussian_bank(
    sigmas: np.ndarray, height: int, width: int, mode: Literal["edge", "symmetric"] = "edge", truncate: float = 4.0
) -> SeparableBank:
    """Returns the matrices of a Gaussian blur for each sigma; the matrix of sigma 0 is the identity.

    The kernel is kornia's and the border is that of numpy's `pad`. The result is equal to scipy's `gaussian_filter`
    and, with the default arguments, to scikit-image's `gaussian`.

    Args:
        sigmas: float [K], in pixels.
        height, width: of the frames, in pixels.
        mode: "edge" repeats the border, "symmetric" mirrors including the edge pixel.
        truncate: radius of the kernel, in sigmas.
    """

    def matrix(side: int, sigma: float) -> Tensor:
        radius = int(truncate * sigma + 0.5)
        if radius == 0:
            return torch.eye(side, dtype=torch.float64)
        weights = get_gaussian_kernel1d(2 * radius + 1, sigma, dtype=torch.float64)
        padded = torch.from_numpy(np.pad(np.eye(side), ((radius, radius), (0, 0)), mode=mode))
        return filter2d(padded[None, None], weights[:, :, None], padding="valid")[0, 0]

    return SeparableBank([(matrix(height, sigma),) for sigma in sigmas], [(matrix(width, sigma),) for sigma in sigmas])


class GaussianBlur(Operation):
    """Gaussian blur, truncated at 4 sigma. The border is repeated."""

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        self._bank = gaussian_bank(rows_KP[:, 0], height, width)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns the blurred images."""
        return self._bank(images_NCHW[:, None], index_N)[:, 0]


class GlassBlur(Operation):
    """Gaussian blur, replacement of pixels by pixels near them, and a second Gaussian blur.

    The original code visits the pixels from the lower right. It means to swap two pixels, but numpy's views turn the
    swap into a copy: a pixel gets the current value of a pixel near it. This class follows every chain of copies to its
    source pixel, for all pixels at once, with the same result. Largest move and number of rounds are whole numbers and
    are rounded between severities.
    """

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        self._bank = gaussian_bank(rows_KP[:, 0], height, width)
        self._rounds = int(np.rint(rows_KP[:, 2]).max())

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns uniform numbers [M, rounds, 2, H, W]: moves down and right."""
        return uniform_pattern(keys_M, (self._rounds, 2, self.height, self.width))

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images as seen through frosted glass."""
        _, most, rounds = (strength[:, 0].round() for strength in self.strengths(index_N))
        images = self._bank(images_NCHW[:, None], index_N)[:, 0]
        first = torch.arange(len(images), device=images.device)[:, None] * (self.height * self.width)
        place = torch.arange(images[:, 0].numel(), device=images.device, dtype=torch.int32)
        for number in range(self._rounds):
            place = place.index_select(0, self._source(pattern_N[:, number], torch.where(number < rounds, most, 0)))
        place = place.view(len(images), -1) - first
        moved = images.flatten(2).gather(2, place[:, None].expand(-1, images.shape[1], -1))
        return self._bank(moved.view_as(images)[:, None], index_N)[:, 0]

    def _source(self, moves_N2HW: Tensor, most_N11: Tensor) -> Tensor:
        """Returns the source pixel of each pixel, as an index over all images, int32 [N H W].

        Args:
            moves_N2HW: uniform moves down and right in [0, 1).
            most_N11: largest move in pixels; with 0 each pixel is its own source.
        """
        height, width = self.height, self.width
        inner_rows, inner_columns = (
            ((line > most_N11) & (line <= len(line) - most_N11) & (most_N11 > 0)).float()
            for line in (torch.arange(side, device=moves_N2HW.device) for side in (height, width))
        )
        walked = inner_rows.mT * inner_columns
        down, right = torch.floor(moves_N2HW * (2 * most_N11[:, None])).sub_(most_N11[:, None]).unbind(dim=1)
        # distance to the source, as a difference of pixel indices
        ahead = torch.add(right, down, alpha=width).mul_(walked).flatten()
        here = torch.arange(ahead.numel(), device=ahead.device, dtype=torch.int32)
        source = here + ahead.int()
        # The original visits later pixels first: a source later in the image already has a copied value.
        hop = here + walked.flatten().index_select(0, source).mul_(ahead.clamp(min=0)).int()
        for _ in range(_FOLLOWED):
            hop = hop.index_select(0, hop)
        return source.index_select(0, hop)


class ZoomBlur(Operation):
    """The mean of the image and of its magnifications about the centre.

    Both axes of a frame that is not square are magnified by the same factor. Between severities the largest
    magnification and the step are interpolated.
    """

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        self._zooms = [np.arange(1, stop, step).tolist() for stop, step in rows_KP]
        most = max(map(len, self._zooms))
        # Severities with fewer factors are padded with factors of weight 0.
        padded = [[*factors, *[1.0] * (most - len(factors))] for factors in self._zooms]
        lines = [[(*zoom_line(height, f), *zoom_line(width, f)) for f in factors] for factors in padded]
        self._lines_KJ4 = torch.tensor(lines)
        counts = torch.tensor([len(factors) for factors in self._zooms])
        used = torch.arange(most) < counts[:, None]
        self._weights_KJ = used / (counts[:, None] + 1.0)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images as of a camera that zooms in."""
        if images_NCHW.device.type == "cpu" and not torch.compiler.is_compiling():
            return self._by_severity(images_NCHW, index_N)
        lines_NJ4 = self._lines_KJ4.to(index_N.device)[index_N]
        weights_NJ = self._weights_KJ.to(index_N.device)[index_N]
        rows = torch.arange(self.height, device=index_N.device)[:, None]
        columns = torch.arange(self.width, device=index_N.device)
        blurred = images_NCHW * weights_NJ[:, 0, None, None, None]
        for j in range(weights_NJ.shape[1]):
            top, down, left, right = lines_NJ4[:, j, :, None, None].unbind(dim=1)
            zoomed = sample(images_NCHW, top + down * rows, left + right * columns)
            blurred = blurred + weights_NJ[:, j, None, None, None] * zoomed
        return blurred

    def _by_severity(self, images_NCHW: Tensor, index_N: Tensor) -> Tensor:
        """Returns the same as `change`, five times faster on a CPU: planes of one severity are adjacent in memory."""
        done = torch.empty_like(images_NCHW)
        for k in index_N.unique().tolist():
            which = (index_N == k).nonzero()[:, 0]
            shares = math.gcd(len(which), torch.get_num_threads())  # torch runs each share in its own thread
            planes = images_NCHW[which].unflatten(0, (shares, -1)).flatten(1, 2)
            planes = planes.contiguous(memory_format=torch.channels_last)
            blurred = planes
            for factor in self._zooms[k]:
                blurred = blurred + clipped_zoom(planes, factor)
            images = (blurred / (len(self._zooms[k]) + 1)).unflatten(1, (-1, images_NCHW.shape[1]))
            done = done.index_copy(0, which, images.flatten(0, 1))
        return done


class MotionBlur(Operation):
    """Motion blur along a uniform random direction, -45 to 45 degrees from the right.

    The radius is rounded between severities.
    """

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        self._longest = int(np.rint(rows_KP[:, 0]).max())

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Returns the direction in degrees, [M, 1, 1, 1]."""
        return uniform_pattern(keys_M, (1, 1, 1)) * 90 - 45

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images blurred along the direction."""
        radius, sigma = self.strengths(index_N)
        return trail(images_NCHW, radius.round(), sigma, pattern_N, self._longest)


class DefocusBlur(Operation):
    """Convolution with a disk whose edge is smoothed. The border is mirrored without the edge, as in OpenCV."""

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        kernels = [disk(radius, edge) for radius, edge in rows_KP]
        kernels = [kernel[edge:-edge, edge:-edge] if (edge := _zeros_around(kernel)) else kernel for kernel in kernels]
        size = max(map(len, kernels))
        self._kernels_Kkk = torch.from_numpy(np.stack([np.pad(k, (size - len(k)) // 2) for k in kernels]))
        self._rows, self._columns = (
            torch.from_numpy(np.pad(np.arange(side), size // 2, mode="reflect")) for side in (height, width)
        )

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images that are out of focus."""
        device = index_N.device
        reach = self._kernels_Kkk.shape[-1] // 2
        if reach < min(self.height, self.width):
            padded = pad(images_NCHW, (reach, reach, reach, reach), mode="reflect")
        else:  # a kernel larger than the frame mirrors the border more than once
            padded = images_NCHW.index_select(2, self._rows.to(device)).index_select(3, self._columns.to(device))
        return filter2d(padded, self._kernels_Kkk.to(device)[index_N], padding="valid")


def _zeros_around(kernel: np.ndarray) -> int:
    """Returns the number of zero rows (and columns) on each side of a kernel."""
    return int(np.flatnonzero(kernel.any(axis=1))[0])


def disk(radius: float, edge: float) -> np.ndarray:
    """Returns the kernel of a smoothed disk, float32, with the sum 1.

    Args:
        radius: in pixels. The kernel has 17 rows and columns, or more for a radius above 8.
        edge: sigma of the Gaussian that smooths the disk, in pixels.
    """
    reach, size = (8, 3) if radius <= 8 else (math.ceil(radius), 5)
    axis = np.arange(-reach, reach + 1)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float32)
    return cv2.GaussianBlur(inside / inside.sum(), (size, size), edge)
