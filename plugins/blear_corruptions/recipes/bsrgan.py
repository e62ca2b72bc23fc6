"""BSRGAN's degradations in random order (Zhang, Liang, Van Gool, Timofte 2021, arXiv 2103.14006, section 3).

Each clip has its own random order of two blurs, two resizes, Gaussian noise and JPEG; the first resize always comes
before the second. A second JPEG is the last step. The numbers are those of `degradation_bsrgan` in the authors'
`utils_blindsr.py`. Their camera pipeline needs a network and is left out. A quarter of the authors' first resizes keep
every n-th pixel after a shifted Gaussian. Here these are a Gaussian and a bilinear resize without antialiasing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, Draws
from blear_corruptions.recipes.blur_kernels import GAUSSIAN, NONE, KernelDraws, convolve, kernels
from blear_corruptions.recipes.canvas import BICUBIC, BILINEAR, Canvas
from blear_corruptions.recipes.noise import frame_keys, jpeg, noise
from blear_corruptions.recipes.params import ScaledRecipeParams
from blear_corruptions.recipes.random_draws import RandomNumbers, as_float, as_int
from blear_corruptions.recipes.recipe import Recipe

_BLUR1, _BLUR2, _RESIZE1, _RESIZE2, _NOISE, _JPEG = range(6)
_LARGEST = 25  # largest kernel, in pixels
_QUALITY, _CODED = (30.0, 95.0), 0.9
_HALVED, _RANDOM_SCALE = 0.25, 0.75
_STD = (2 / 255, 25 / 255)


class Bsrgan(Recipe):
    """Builds `corruptions/bsrgan`."""

    def __init__(self, params: ScaledRecipeParams, context: BuildContext) -> None:
        super().__init__("bsrgan", params, context)
        self._scale = params.scale

    def parameters(self, numbers: RandomNumbers, share_B: np.ndarray) -> Draws:
        """Returns the parameters of all steps, and their order: `step0` is the first step, `step5` the last."""
        draws: Draws = {"key": numbers.key()}
        scale_B = self._scale**share_B
        blurs = [_BlurNumbers.drawn(numbers) for _ in range(2)]
        order = np.argsort(np.stack([numbers.column()[:, 0] for _ in range(6)], axis=1), axis=1)
        draws |= {f"step{place}": as_int(step[:, None]) for place, step in enumerate(_resizes_in_turn(order).T)}
        halved = numbers.bernoulli(_HALVED) & (self._scale == 4)
        scale_B = np.where(halved[:, 0], scale_B / 2**share_B, scale_B)
        for number, blur in enumerate(blurs):
            draws |= blur.kernels(share_B, scale_B).with_prefix(f"blur{number}_")
        drawn, random = numbers.uniform(1, 2 * scale_B), numbers.bernoulli(_RANDOM_SCALE)
        draws |= _before_every_nth(numbers, scale_B, random).with_prefix("nth_")
        kind = numbers.choice((0.4, 0.4, 0.2))
        low = _QUALITY[1] - share_B * (_QUALITY[1] - _QUALITY[0])
        return draws | {
            "halve": as_float(np.where(halved, 2 ** share_B[:, None], 1)),
            "shrink1": as_float(np.where(random, drawn, scale_B[:, None])),
            "shrink2": as_float(scale_B[:, None]),
            "mode0": as_int(numbers.choice((1, 1, 1))),
            "mode1": as_int(np.where(random, numbers.choice((1, 1, 1)), BILINEAR)),
            "mode2": as_int(numbers.choice((1, 1, 1))),
            "noise": as_int(kind),
            "std": as_float(numbers.uniform(_STD[0] * share_B, _STD[1] * share_B)),
            "quality0": as_float(numbers.uniform(low, _QUALITY[1])),
            "quality1": as_float(numbers.uniform(low, _QUALITY[1])),
            "coded": torch.from_numpy(np.array(numbers.bernoulli(_CODED))),
            **_mixing(numbers, _STD[1] * share_B),
        }

    def change(self, canvas: Canvas, draws: Draws, key_B1: Tensor, length: int) -> Canvas:
        """Applies the six steps in each image's order, then JPEG, and enlarges with a bicubic resize."""
        height, width = canvas.images_NCHW.shape[-2:]
        full = canvas.rows_N, canvas.columns_N
        keys = frame_keys(key_B1, length)
        canvas = _shrunk(canvas, full, draws["halve"], draws["mode0"])
        sizes = canvas.rows_N, canvas.columns_N
        for place in range(6):
            canvas = _step(canvas, draws[f"step{place}"], draws, sizes, keys)
        canvas = canvas.with_images(jpeg(canvas.images_NCHW, draws["quality1"]))
        return canvas.resized(*full, torch.full_like(draws["mode0"], BICUBIC), height, width)


def _resizes_in_turn(order_B6: np.ndarray) -> np.ndarray:
    """Returns the order with the first resize before the second."""
    first, second = ((order_B6 == step).argmax(axis=1) for step in (_RESIZE1, _RESIZE2))
    turned = order_B6.copy()
    rows = np.arange(len(order_B6))
    turned[rows, np.minimum(first, second)], turned[rows, np.maximum(first, second)] = _RESIZE1, _RESIZE2
    return turned


def _step(canvas: Canvas, step_N: Tensor, draws: Draws, sizes: tuple[Tensor, Tensor], keys_N: Tensor) -> Canvas:
    """Applies one step to every image.

    An operation runs only on the images of this step; the selection breaks a compiled graph.
    """
    rows, columns, images = canvas.rows_N, canvas.columns_N, canvas.images_NCHW
    for operation in range(6):
        which = (step_N == operation).nonzero()[:, 0]
        if len(which) == 0:
            continue
        part = Canvas(canvas.images_NCHW[which], canvas.rows_N[which], canvas.columns_N[which])
        its_sizes = sizes[0][which], sizes[1][which]
        its_draws = {name: value[which] for name, value in draws.items()}
        changed = _operation(operation, part, its_draws, its_sizes, keys_N[which])
        images = images.index_copy(0, which, changed.images_NCHW)
        rows, columns = rows.index_copy(0, which, changed.rows_N), columns.index_copy(0, which, changed.columns_N)
    return Canvas(images, rows, columns)


def _operation(operation: int, canvas: Canvas, draws: Draws, sizes: tuple[Tensor, Tensor], keys_N: Tensor) -> Canvas:
    images = canvas.images_NCHW
    if operation in (_BLUR1, _BLUR2):
        return canvas.with_images(
            convolve(images, kernels(KernelDraws.from_draws(draws, f"blur{operation}_"), _LARGEST))
        )
    if operation == _RESIZE1:
        blurred = canvas.with_images(convolve(images, kernels(KernelDraws.from_draws(draws, "nth_"), _LARGEST)))
        return _shrunk(blurred, sizes, draws["shrink1"], draws["mode1"])
    if operation == _RESIZE2:
        return _shrunk(canvas, sizes, draws["shrink2"], draws["mode2"])
    if operation == _NOISE:
        return canvas.with_images(_noisy(canvas, draws, keys_N))
    coded = jpeg(images, draws["quality0"])
    return canvas.with_images(torch.where(draws["coded"][:, None, None, None], coded, images))


def _shrunk(canvas: Canvas, sizes: tuple[Tensor, Tensor], factor_N: Tensor, mode_N: Tensor) -> Canvas:
    rows, columns = ((side / factor_N).long().clamp(min=1) for side in sizes)
    resized = canvas.resized(rows, columns, mode_N, *canvas.images_NCHW.shape[-2:])
    return resized.with_images(resized.images_NCHW.clamp(0, 1))


def _noisy(canvas: Canvas, draws: Draws, keys_N: Tensor) -> Tensor:
    """Returns images with coloured, grey or channel-correlated noise."""
    kind, std = draws["noise"], draws["std"][:, None, None, None]
    z = noise(canvas, keys_N, kind == 1, 0)
    added = std * z
    if z.shape[1] == 3:
        mixing = torch.stack([draws[f"mix{place}"] for place in range(9)], dim=1).unflatten(1, (3, 3))
        correlated = torch.einsum("nij,njhw->nihw", mixing, z)
        added = torch.where((kind == 2)[:, None, None, None], correlated, added)
    return (canvas.images_NCHW + added).clamp(0, 1)


@dataclass(frozen=True)
class _BlurNumbers:
    """The random numbers of one blur, drawn before the scale is known: `unit` are in [0, 1)."""

    size: np.ndarray
    elongated: np.ndarray
    unit: tuple[np.ndarray, ...]

    @classmethod
    def drawn(cls, numbers: RandomNumbers) -> _BlurNumbers:
        size, elongated = 7 + 2 * numbers.choice((1,) * 10), numbers.bernoulli(0.5)
        return cls(size, elongated, tuple(numbers.column() for _ in range(4)))

    def kernels(self, share_B: np.ndarray, scale_B: np.ndarray) -> KernelDraws:
        variance, width = ((share_B * most)[:, None] for most in (4 + scale_B, 2 + 0.2 * scale_B))
        along, across, turn, sigma = self.unit
        sigma_x, sigma_y = (
            as_float(np.where(self.elongated, np.sqrt(unit * variance), sigma * width)).clamp(min=0.01)
            for unit in (along, across)
        )
        kind, one = torch.full(self.size.shape, GAUSSIAN), torch.ones(self.size.shape)
        theta = as_float(np.where(self.elongated, turn * math.pi, 0))
        return KernelDraws(kind, as_int(self.size), sigma_x, sigma_y, theta, one, one)


def _before_every_nth(numbers: RandomNumbers, scale_B: np.ndarray, random: np.ndarray) -> KernelDraws:
    sigma = as_float(numbers.uniform(0.1, np.maximum(0.6 * scale_B, 0.1)))
    one = torch.ones(sigma.shape)
    kind = as_int(np.where(random, NONE, GAUSSIAN))
    return KernelDraws(kind, one * _LARGEST, sigma, sigma, 0 * one, one, one)


def _mixing(numbers: RandomNumbers, most_B: np.ndarray) -> Draws:
    """Returns nine numbers: a matrix that gives independent noise a random covariance, at most `most_B` squared."""
    share = np.stack([numbers.column()[:, 0] for _ in range(3)], axis=1)
    axes, _ = np.linalg.qr(np.stack([numbers.column()[:, 0] for _ in range(9)], axis=1).reshape(-1, 3, 3))
    mixing = axes.transpose(0, 2, 1) * (np.sqrt(share) * most_B[:, None])[:, None, :]
    return {f"mix{place}": as_float(column[:, None]) for place, column in enumerate(mixing.reshape(-1, 9).T)}
