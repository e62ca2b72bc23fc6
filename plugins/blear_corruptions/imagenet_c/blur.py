"""ImageNet-C's blurs that are sums of look-ups: Gaussian, glass, zoom, motion, defocus."""

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

_FOLLOWED = 5  # doublings: chains of 32 copies; one goes on with probability < 0.43


def gaussian_bank(
    sigmas: np.ndarray, height: int, width: int, mode: Literal["edge", "symmetric"] = "edge", truncate: float = 4.0
) -> SeparableBank:
    """Matrices of a Gaussian for each sigma in px, cut at `truncate` sigmas; sigma 0: identity.

    kornia's kernel with a border as numpy's `pad` makes it: scipy's `gaussian_filter`, with these defaults
    scikit-image's `gaussian`.

    Args:
        mode: "edge" repeats the border, "symmetric" mirrors with the edge.
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
    """A Gaussian cut at 4 sigma, the border repeated."""

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        self._bank = gaussian_bank(rows_KP[:, 0], height, width)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Blurred images."""
        return self._bank(images_NCHW[:, None], index_N)[:, 0]


class GlassBlur(Operation):
    """Gaussian blur, pixels replaced by near ones, Gaussian blur again.

    The original walks over the pixels from the lower right and means to swap two of them, but numpy's views make it
    copy: a pixel becomes what a near one is by then. Such copies are followed to their source for all pixels at once,
    with the same result. Largest move and rounds are whole numbers, so between severities they are rounded.
    """

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        self._bank = gaussian_bank(rows_KP[:, 0], height, width)
        self._rounds = int(np.rint(rows_KP[:, 2]).max())

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Uniform [M, rounds, 2, H, W]: moves down and right."""
        return uniform_pattern(keys_M, (self._rounds, 2, self.height, self.width))

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Images as through frosted glass."""
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
        """Number, in all images, of the pixel that each pixel becomes, int32 [N H W]; `most_N11` 0: itself."""
        height, width = self.height, self.width
        inner_rows, inner_columns = (
            ((line > most_N11) & (line <= len(line) - most_N11) & (most_N11 > 0)).float()
            for line in (torch.arange(side, device=moves_N2HW.device) for side in (height, width))
        )
        walked = inner_rows.mT * inner_columns
        down, right = torch.floor(moves_N2HW * (2 * most_N11[:, None])).sub_(most_N11[:, None]).unbind(dim=1)
        # in pixels, in the order of their numbers
        ahead = torch.add(right, down, alpha=width).mul_(walked).flatten()
        here = torch.arange(ahead.numel(), device=ahead.device, dtype=torch.int32)
        source = here + ahead.int()
        # A source that comes later in the picture was walked over before: what lies there is what it became.
        hop = here + walked.flatten().index_select(0, source).mul_(ahead.clamp(min=0)).int()
        for _ in range(_FOLLOWED):
            hop = hop.index_select(0, hop)
        return source.index_select(0, hop)


class ZoomBlur(Operation):
    """The mean of the image and of its magnifications about the middle.

    Frames that are not square are magnified along each axis by the same factor. Between severities the largest
    magnification and the step are interpolated.
    """

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        self._zooms = [np.arange(1, stop, step).tolist() for stop, step in rows_KP]
        most = max(map(len, self._zooms))
        # Factors that a severity lacks weigh nothing.
        padded = [[*factors, *[1.0] * (most - len(factors))] for factors in self._zooms]
        lines = [[(*zoom_line(height, f), *zoom_line(width, f)) for f in factors] for factors in padded]
        self._lines_KJ4 = torch.tensor(lines)
        counts = torch.tensor([len(factors) for factors in self._zooms])
        used = torch.arange(most) < counts[:, None]
        self._weights_KJ = used / (counts[:, None] + 1.0)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Images as while zooming in."""
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
        """The same with all planes of a severity side by side in memory: five times faster than look-ups on a CPU."""
        done = torch.empty_like(images_NCHW)
        for k in index_N.unique().tolist():
            which = (index_N == k).nonzero()[:, 0]
            shares = math.gcd(len(which), torch.get_num_threads())  # torch works on each in a thread of its own
            planes = images_NCHW[which].unflatten(0, (shares, -1)).flatten(1, 2)
            planes = planes.contiguous(memory_format=torch.channels_last)
            blurred = planes
            for factor in self._zooms[k]:
                blurred = blurred + clipped_zoom(planes, factor)
            images = (blurred / (len(self._zooms[k]) + 1)).unflatten(1, (-1, images_NCHW.shape[1]))
            done = done.index_copy(0, which, images.flatten(0, 1))
        return done


class MotionBlur(Operation):
    """A trail in one direction, -45 to 45 degrees from the right, drawn uniformly. Between severities the radius is
    rounded."""

    def __init__(self, rows_KP: np.ndarray, height: int, width: int) -> None:
        super().__init__(rows_KP, height, width)
        self._longest = int(np.rint(rows_KP[:, 0]).max())

    def pattern(self, keys_M: Tensor, index_M: Tensor, channels: int) -> Tensor:
        """Direction in degrees [M, 1, 1, 1]."""
        return uniform_pattern(keys_M, (1, 1, 1)) * 90 - 45

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Images with trails."""
        radius, sigma = self.strengths(index_N)
        return trail(images_NCHW, radius.round(), sigma, pattern_N, self._longest)


class DefocusBlur(Operation):
    """Convolution with a disk whose edge is smoothed; the border is mirrored without the edge, as OpenCV does."""

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
        """Images out of focus."""
        device = index_N.device
        reach = self._kernels_Kkk.shape[-1] // 2
        if reach < min(self.height, self.width):
            padded = pad(images_NCHW, (reach, reach, reach, reach), mode="reflect")
        else:  # mirrored more than once
            padded = images_NCHW.index_select(2, self._rows.to(device)).index_select(3, self._columns.to(device))
        return filter2d(padded, self._kernels_Kkk.to(device)[index_N], padding="valid")


def _zeros_around(kernel: np.ndarray) -> int:
    """How many rows and columns on each side are zero."""
    return int(np.flatnonzero(kernel.any(axis=1))[0])


def disk(radius: float, edge: float) -> np.ndarray:
    """Float32 kernel of 17 pixels a side, of more from a radius above 8; sums to 1. `edge`: sigma that smooths it."""
    reach, size = (8, 3) if radius <= 8 else (math.ceil(radius), 5)
    axis = np.arange(-reach, reach + 1)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float32)
    return cv2.GaussianBlur(inside / inside.sum(), (size, size), edge)
