"""Second-order degradation: Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833) and RealBasicVSR (Chan et al. 2022, arXiv
2111.12704), in which the parameters are a random walk over the frames.

The steps are two rounds of blur, resize, noise and JPEG, and a sinc filter at the end. Ranges and probabilities are
those of the authors' `train_realesrgan_x4plus.yml` and MMEditing's `realbasicvsr_c64b20_1x30x8_lr5e-5_150k_reds.py`.
Differences from the authors: borders are repeated, not mirrored; every clip has its own sizes (Real-ESRGAN: every
batch); frames are not sharpened first. JPEG replaces RealBasicVSR's video codecs: its quality is a random walk between
20 and 80 (our choice) and is merged with the JPEG before it as the lower of two qualities. `codec/*` are real codecs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, Draws
from blear_corruptions.imagenet_c.noise import poisson_table
from blear_corruptions.random_streams import draws_per_clip
from blear_corruptions.recipes.blur_kernels import GAUSSIAN, NONE, PLATEAU, SINC, KernelDraws, convolve, kernels
from blear_corruptions.recipes.canvas import BICUBIC, Canvas
from blear_corruptions.recipes.noise import frame_keys, gaussian_or_poisson, jpeg, noise
from blear_corruptions.recipes.params import ScaledRecipeParams
from blear_corruptions.recipes.random_draws import RandomNumbers, as_float, as_int
from blear_corruptions.recipes.recipe import Recipe

_LARGEST = 21  # largest kernel, in pixels
_KINDS = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)  # Gaussian, generalised, plateau; each isotropic, then anisotropic
_SINC, _FINAL_SINC = 0.1, 0.8
_GAUSSIAN, _GREY = 0.5, 0.4
_JPEG, _VIDEO = (30.0, 95.0), (20.0, 80.0)


@dataclass(frozen=True)
class RoundRanges:
    """Ranges of one of the two rounds.

    Attributes:
        blurred: probability of a blur.
        sigma: largest sigma, in pixels; the smallest is 0.2.
        resized: weights of enlarging, shrinking and no resize.
        scale: smallest and largest scale.
        scale_step: largest step of the scale's random walk.
        noise: largest standard deviation, on the scale of 0 to 255; the smallest is 1.
        poisson: largest factor of Poisson noise; the smallest is 0.05.
    """

    blurred: float
    sigma: float
    resized: tuple[float, float, float]
    scale: tuple[float, float]
    scale_step: float
    noise: float
    poisson: float


ROUNDS = (
    RoundRanges(1.0, 3.0, (0.2, 0.7, 0.1), (0.15, 1.5), 0.015, 30.0, 3.0),
    RoundRanges(0.8, 1.5, (0.3, 0.4, 0.3), (0.3, 1.2), 0.03, 25.0, 2.5),
)


class SecondOrder(Recipe):
    """Two rounds of degradation and a final filter.

    Args:
        name: name of the component.
        walks: true for RealBasicVSR: the parameters are a random walk over the frames, and JPEG replaces the video
            codecs.
        params, context: as for every degradation; a random walk needs the clip's length.
    """

    def __init__(self, name: str, walks: bool, params: ScaledRecipeParams, context: BuildContext) -> None:
        frames = draws_per_clip("frame" if walks else "clip", context, f"corruptions/{name}")
        super().__init__(name, params, context, frames)
        self._walks, self._scale = walks, params.scale
        poisson_table(torch.device("cpu"))
        self._least_share, self._largest_share = float(self._shares.min()), float(self._shares.max())

    def parameters(self, numbers: RandomNumbers, share_B: np.ndarray) -> Draws:
        """Returns the parameters of both rounds (0 and 1 in their names) and of the final filter."""
        draws: Draws = {"key": numbers.key()}
        for number, order in enumerate(ROUNDS):
            draws |= _blur(numbers, order, share_B).with_prefix(f"blur{number}_")
            draws |= _round(numbers, order, share_B, number)
        draws |= _final_sinc(numbers, share_B).with_prefix("end_blur_")
        sinc_first = numbers.bernoulli(0.5)
        first, second = (_quality(numbers, _JPEG, share_B) for _ in range(2))
        after = second
        if self._walks:
            films = [_quality(numbers, _VIDEO, share_B) for _ in range(2)]
            first, after = np.minimum(first, films[0]), films[1]
            second = np.where(sinc_first, second, np.minimum(second, after))
        small = np.broadcast_to((self._scale**share_B)[:, None], second.shape)
        return draws | {
            "quality0": as_float(first),
            "quality1": as_float(second),
            "quality_end": as_float(after),
            "coded_before": torch.from_numpy(np.array(~sinc_first | self._walks)),
            "coded_after": torch.from_numpy(np.array(sinc_first)),
            "mode_end": as_int(numbers.choice((1, 1, 1))),
            "small": as_float(small),
        }

    def change(self, canvas: Canvas, draws: Draws, key_B1: Tensor, length: int) -> Canvas:
        """Degrades twice, filters, and enlarges with a bicubic resize."""
        height, width = canvas.images_NCHW.shape[-2:]
        keys = frame_keys(key_B1, length)
        full = canvas.rows_N.float(), canvas.columns_N.float()
        rows, columns = ((side / draws["small"]).long().clamp(min=1) for side in full)
        canvas = _degraded(canvas, draws, keys, 0, full, self._largest(height, width, 0))
        canvas = canvas.with_images(jpeg(canvas.images_NCHW, draws["quality0"]))
        canvas = _degraded(canvas, draws, keys, 1, (rows, columns), self._largest(height, width, 1))
        canvas = _coded(canvas, draws["quality1"], draws["coded_before"])
        canvas = canvas.resized(rows, columns, draws["mode_end"], self._least(height), self._least(width))
        canvas = canvas.with_images(convolve(canvas.images_NCHW, _kernels(draws, "end_blur_")).clamp(0, 1))
        canvas = _coded(canvas, draws["quality_end"], draws["coded_after"])
        cubic = torch.full_like(draws["mode_end"], BICUBIC)
        return canvas.resized(full[0].long(), full[1].long(), cubic, height, width)

    def _least(self, side: int) -> int:
        """Returns the largest side of the small frames at the end, in pixels."""
        return max(1, math.floor(side / self._scale**self._least_share))

    def _largest(self, height: int, width: int, number: int) -> tuple[int, int]:
        """Returns the largest height and width of frames within a round, in pixels."""
        up = 1 + self._largest_share * (ROUNDS[number].scale[1] - 1)
        sides = (height, width) if number == 0 else (self._least(height), self._least(width))
        return math.ceil(sides[0] * up), math.ceil(sides[1] * up)


real_esrgan = partial(SecondOrder, "real_esrgan", False)
real_basicvsr = partial(SecondOrder, "real_basicvsr", True)


def _blur(numbers: RandomNumbers, order: RoundRanges, share_B: np.ndarray) -> KernelDraws:
    size = 7 + 2 * numbers.choice((1,) * 8)
    shape, sinc, blurred = numbers.choice(_KINDS), numbers.bernoulli(_SINC), numbers.bernoulli(order.blurred)
    sigma_x, sigma_y = (numbers.uniform(0.2, 0.2 + share_B * (order.sigma - 0.2), 0.02) for _ in range(2))
    theta, steep = numbers.uniform(-math.pi, math.pi, math.pi / 10), numbers.bernoulli(0.5)[:, 0]
    generalised = numbers.uniform(np.where(steep, 1, 0.5), np.where(steep, 4, 1), 0.05)
    plateau = numbers.uniform(1.0, np.where(steep, 2, 1), 0.1)
    lowest = np.where(size[:, 0] < 13, math.pi / 3, math.pi / 5)
    cutoff = numbers.uniform(math.pi - share_B * (math.pi - lowest), math.pi, 0.0628)
    elongated, kind = shape % 2 == 1, np.where(shape < 4, GAUSSIAN, PLATEAU)
    kind = np.where(blurred, np.where(sinc, SINC, kind), NONE)
    return KernelDraws(
        as_int(kind),
        as_int(size),
        as_float(sigma_x),
        as_float(np.where(elongated, sigma_y, sigma_x)),
        as_float(np.where(elongated, theta, 0)),
        as_float(np.where(shape < 2, 1, np.where(shape < 4, generalised, plateau))),
        as_float(cutoff),
    )


def _final_sinc(numbers: RandomNumbers, share_B: np.ndarray) -> KernelDraws:
    size, filtered = 7 + 2 * numbers.choice((1,) * 8), numbers.bernoulli(_FINAL_SINC)
    cutoff = numbers.uniform(math.pi - share_B * (math.pi * 2 / 3), math.pi, 0.0628)
    one = torch.ones(cutoff.shape)
    return KernelDraws(as_int(np.where(filtered, SINC, NONE)), as_int(size), one, one, one, one, as_float(cutoff))


def _round(numbers: RandomNumbers, order: RoundRanges, share_B: np.ndarray, number: int) -> Draws:
    low, high = order.scale[0] ** share_B, 1 + share_B * (order.scale[1] - 1)
    way = numbers.choice(order.resized)
    bounds = np.select([way[:, 0] == 0, way[:, 0] == 1], [[np.ones_like(high), high], [low, np.ones_like(low)]], 1.0)
    scale = numbers.uniform(bounds[0], bounds[1], order.scale_step)
    values = {
        "scale": scale,
        "sigma": numbers.uniform(1 / 255, (1 + share_B * (order.noise - 1)) / 255, 0.1 / 255),
        "poisson": numbers.uniform(0.05, 0.05 + share_B * (order.poisson - 0.05), 0.005),
    }
    named = {f"{name}{number}": as_float(value) for name, value in values.items()}
    named[f"mode{number}"] = as_int(numbers.choice((1, 1, 1)))
    for name, probability in (("gaussian", _GAUSSIAN), ("grey", _GREY)):
        named[f"{name}{number}"] = torch.from_numpy(np.array(numbers.bernoulli(probability)))
    return named


def _quality(numbers: RandomNumbers, bounds: tuple[float, float], share_B: np.ndarray) -> np.ndarray:
    return numbers.uniform(bounds[1] - share_B * (bounds[1] - bounds[0]), bounds[1], 3.0)


def _kernels(draws: Draws, prefix: str) -> Tensor:
    return kernels(KernelDraws.from_draws(draws, prefix), _LARGEST)


def _degraded(
    canvas: Canvas, draws: Draws, keys_N: Tensor, number: int, sides: Sequence[Tensor], room: tuple[int, int]
) -> Canvas:
    """Applies blur, resize and noise of one round.

    Args:
        sides: rows and columns at scale 1.
    """
    canvas = canvas.with_images(convolve(canvas.images_NCHW, _kernels(draws, f"blur{number}_")))
    rows, columns = ((side * draws[f"scale{number}"]).long().clamp(min=1) for side in sides)
    canvas = canvas.resized(rows, columns, draws[f"mode{number}"], *room)
    gaussian, sigma, poisson, grey = (draws[f"{name}{number}"] for name in ("gaussian", "sigma", "poisson", "grey"))
    z = noise(canvas, keys_N, grey, number)
    return canvas.with_images(gaussian_or_poisson(canvas, z, gaussian, sigma, poisson, grey))


def _coded(canvas: Canvas, quality_N: Tensor, which_N: Tensor) -> Canvas:
    coded = jpeg(canvas.images_NCHW, quality_N)
    return canvas.with_images(torch.where(which_N[:, None, None, None], coded, canvas.images_NCHW))
