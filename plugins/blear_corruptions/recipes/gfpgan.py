"""GFPGAN's degradations of faces (Wang, Li, Zhang, Shan 2021, arXiv 2101.04061, section 4).

The steps are blur, shrink, noise, JPEG, enlarge, and sometimes a shift of each colour channel or a conversion to grey.
The ranges are those of the authors' `options/train_gfpgan_v1.yml`, written for faces of 512 pixels. Their second colour
jitter (brightness, contrast, saturation and hue by torchvision) is left out.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from kornia.color import rgb_to_grayscale
from torch import Tensor

from blear.contracts import BuildContext, Draws
from blear_corruptions.recipes.blur_kernels import GAUSSIAN, KernelDraws, convolve, kernels
from blear_corruptions.recipes.canvas import BILINEAR, Canvas
from blear_corruptions.recipes.noise import frame_keys, jpeg, noise
from blear_corruptions.recipes.params import FaceRecipeParams
from blear_corruptions.recipes.random_draws import RandomNumbers, as_float
from blear_corruptions.recipes.recipe import Recipe

_SIGMA, _KERNEL = (0.1, 10.0), 41
_SCALE, _NOISE, _JPEG, _SHIFT = (0.8, 8.0), 20 / 255, (60.0, 100.0), 20 / 255


class Gfpgan(Recipe):
    """Builds `corruptions/gfpgan`."""

    def __init__(self, params: FaceRecipeParams, context: BuildContext) -> None:
        super().__init__("gfpgan", params, context)
        self._params = params

    def parameters(self, numbers: RandomNumbers, share_B: np.ndarray) -> Draws:
        """Returns the parameters of all steps; `sigma_x` and `sigma_y` are for faces of the reference size."""
        draws: Draws = {"key": numbers.key()}
        round_one = numbers.bernoulli(0.5)
        sigma_x, sigma_y = (numbers.uniform(_SIGMA[0], _SIGMA[0] + share_B * (_SIGMA[1] - _SIGMA[0])) for _ in range(2))
        theta = numbers.uniform(-math.pi, math.pi)
        shifted, shifts = numbers.bernoulli(self._params.jitter), [numbers.uniform(-_SHIFT, _SHIFT) for _ in range(3)]
        return (
            draws
            | {
                "sigma_x": as_float(sigma_x),
                "sigma_y": as_float(np.where(round_one, sigma_x, sigma_y)),
                "theta": as_float(np.where(round_one, 0, theta)),
                "scale": as_float(numbers.uniform(_SCALE[0] ** share_B, _SCALE[1] ** share_B)),
                "sigma": as_float(numbers.uniform(0, share_B * _NOISE)),
                "quality": as_float(numbers.uniform(_JPEG[1] - share_B * (_JPEG[1] - _JPEG[0]), _JPEG[1])),
                "grey": torch.from_numpy(np.array(numbers.bernoulli(self._params.grey))),
            }
            | {
                f"shift{number}": as_float(np.where(shifted, shift * share_B[:, None], 0))
                for number, shift in enumerate(shifts)
            }
        )

    def change(self, canvas: Canvas, draws: Draws, key_B1: Tensor, length: int) -> Canvas:
        """Blurs, shrinks, adds noise, applies JPEG, enlarges with a bilinear resize, and changes the colour."""
        channels, height, width = canvas.images_NCHW.shape[1:]
        canvas = canvas.with_images(convolve(canvas.images_NCHW, self._kernels(draws, min(height, width))))
        rows, columns = ((side / draws["scale"]).long().clamp(min=1) for side in (canvas.rows_N, canvas.columns_N))
        bilinear = torch.full_like(rows, BILINEAR)
        room = (math.floor(height / _SCALE[0]), math.floor(width / _SCALE[0]))
        full = canvas.rows_N, canvas.columns_N
        canvas = canvas.resized(rows, columns, bilinear, *room)
        z = noise(canvas, frame_keys(key_B1, length), torch.zeros_like(draws["grey"]), 0)
        noisy = (canvas.images_NCHW + draws["sigma"][:, None, None, None] * z).clamp(0, 1)
        canvas = canvas.with_images(jpeg(noisy, draws["quality"])).resized(*full, bilinear, height, width)
        if channels == 1:
            return canvas
        shifts_NC = torch.stack([draws[f"shift{number}"] for number in range(channels)], dim=1)
        images = (canvas.images_NCHW + shifts_NC[:, :, None, None]).clamp(0, 1)
        return canvas.with_images(torch.where(draws["grey"][:, None, None, None], rgb_to_grayscale(images), images))

    def _kernels(self, draws: Draws, side: int) -> Tensor:
        smaller = side / self._params.reference
        reach = max(1, round(_KERNEL // 2 * smaller))
        sigma_x, sigma_y = (draws[name] * smaller for name in ("sigma_x", "sigma_y"))
        kind = torch.full_like(draws["sigma_x"], GAUSSIAN, dtype=torch.int64)
        one = torch.ones_like(sigma_x)
        drawn = KernelDraws(kind, one * (2 * reach + 1), sigma_x, sigma_y, draws["theta"], one, one)
        return kernels(drawn, 2 * reach + 1)
