"""Differentiable JPEG (Reich et al. 2024, arXiv 2309.06978): equal to kornia's codec in a quarter of the time.

The cosine transform and the chroma resampling are linear and separable: matrices along both axes, computed once. The
coefficients are divided by the scaled quantisation tables. Tables and quotients are rounded with a cubic remainder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from blear.separable import resize

_LUMA_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32),
)
"""Quantisation table of ITU-T T.81, annex K, row by row."""

_LUMA, _BLUE, _RED = (0.299, 0.587, 0.114), 0.564, 0.713
_MIDDLE, _OFFSET = 128 / 255, 0.5 / 255  # kornia's chroma is 0.5 of 255 below the middle
_BLOCK, _SQUARE = 8, 16  # sides in px of a block, and of a macroblock (four luma blocks, one block of each chroma)
_PRODUCT = 64  # largest number of rows of a block matrix: more rows multiply more zeros
_HELD: dict[tuple[int, str], tuple[Tensor, Tensor, Tensor]] = {}


def soft_jpeg(images_NCHW: Tensor, quality_N: Tensor) -> Tensor:
    """Returns images after encoding and decoding with 4:2:0 subsampling, of the same shape, not clipped.

    Args:
        images_NCHW: float32 in [0, 1], RGB or grey. Grey images are encoded as three equal channels.
        quality_N: libjpeg's quality for each image, above 0, at most 100; need not be a whole number.
    """
    height, width = images_NCHW.shape[-2:]
    beyond = (0, -width % _SQUARE, 0, -height % _SQUARE)
    images = pad(images_NCHW, beyond, mode="replicate") if any(beyond) else images_NCHW
    (rows, less_rows, more_rows), (columns, less_columns, more_columns) = (
        _matrices(side, images.device) for side in images.shape[-2:]
    )
    red, green, blue = images.expand(-1, 3, -1, -1).unbind(dim=1)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    chroma = torch.stack([(blue - luma) * _BLUE, (red - luma) * _RED], dim=1) - _OFFSET
    luma_step, chroma_step = _steps(quality_N.to(images))
    luma = _quantised(_by_blocks(luma[:, None] - _MIDDLE, rows, columns), luma_step)
    luma = _by_blocks(luma, rows.mT, columns.mT)[:, 0] + _MIDDLE
    chroma = _quantised(less_rows @ (chroma @ less_columns.mT), chroma_step)
    blue, red = (more_rows @ (chroma @ more_columns.mT) + _OFFSET).unbind(dim=1)
    red, blue = red / _RED, blue / _BLUE
    green = (red * _LUMA[0] + blue * _LUMA[2]) / -_LUMA[1]
    coded = torch.stack([red, green, blue], dim=1) + luma[:, None]
    return coded[:, : images_NCHW.shape[1], :height, :width]


def _quantised(coefficients_NCHW: Tensor, step_N88: Tensor) -> Tensor:
    """Rounds to whole quantisation steps plus a part of the remainder, which carries the gradient."""
    steps = step_N88.repeat(1, 1, coefficients_NCHW.shape[-1] // _BLOCK)[:, None, None]
    coefficients = coefficients_NCHW.unflatten(2, (-1, _BLOCK)) / steps
    whole = coefficients.round()
    rest = coefficients - whole
    return (torch.addcmul(whole, rest, rest * rest) * steps).flatten(2, 3)


def _steps(quality_N: Tensor) -> list[Tensor]:
    """Returns the quantisation steps of luma and of chroma for values in [0, 1], each [N, 8, 8]."""
    scale_N11 = _softly_floored(torch.where(quality_N < 50, 5000 / quality_N, 200 - 2 * quality_N))[:, None, None]
    tables = (torch.tensor(t, device=scale_N11.device).view(_BLOCK, _BLOCK) for t in (_LUMA_TABLE, _CHROMA_TABLE))
    scaled = [(table * scale_N11 + 50) / 100 for table in tables]
    # kornia's soft limit turns steps below 1 into about 0.12: above quality 95 the steps are finer than libjpeg's
    limited = [torch.where(step < 1, 0.98 + 0.02 * torch.exp(step - 1), step).clamp(max=255) for step in scaled]
    return [_softly_floored(step) / 255 for step in limited]


def _softly_floored(x: Tensor) -> Tensor:
    return x.floor() + (x - x.floor() - 0.5) ** 3


def _by_blocks(images_NCHW: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Multiplies along both axes by matrices that repeat along the diagonal."""
    images = images_NCHW.unflatten(3, (-1, len(columns))) @ columns.mT
    return (rows @ images.flatten(3).unflatten(2, (-1, len(rows)))).flatten(2, 3)


def _matrices(side: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Returns float32 matrices: the cosine transform of blocks, that of the halved axis, and the inverse of the latter.

    Their shapes are [b, b], [side / 2, side] and [side, side / 2].
    """
    if (side, str(device)) in _HELD:
        return _HELD[side, str(device)]
    place = torch.arange(_BLOCK, dtype=torch.float64)
    cosines = torch.cos(place[:, None] * (2 * place + 1) * (torch.pi / (2 * _BLOCK))) / 2
    cosines[0] /= 2**0.5
    most = max(b for b in range(_BLOCK, _PRODUCT + 1, _BLOCK) if side % b == 0)
    blocks, halved = (torch.block_diag(*[cosines] * (length // _BLOCK)) for length in (most, side // 2))
    # kornia's antialiasing: three weights of a Gaussian with sigma 0.5
    mirrored = pad(torch.eye(side, dtype=torch.float64)[None], (0, 0, 1, 1), mode="reflect")[0]
    smooth = torch.lerp(mirrored[1:-1], (mirrored[:-2] + mirrored[2:]) / 2, 2 / (2 + math.exp(2)))
    halving, doubling = resize(side, side // 2, "area") @ smooth, resize(side // 2, side, "bilinear")
    made = (blocks, halved @ halving, doubling @ halved.mT)
    moved = (made[0].float().to(device), made[1].float().to(device), made[2].float().to(device))
    if not torch.compiler.is_compiling():
        _HELD[side, str(device)] = moved
    return moved
