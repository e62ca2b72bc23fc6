"""Noise of the recipes on canvases: Gaussian or Poisson, coloured or grey, as Real-ESRGAN has it; JPEG."""

from __future__ import annotations

import torch
from torch import Tensor

from blear_corruptions.compression.codec import soft_jpeg
from blear_corruptions.random_patterns import normal_pattern
from blear_corruptions.recipes.canvas import Canvas

_FRAMES = 2**40


def frame_keys(key_B1: Tensor, length: int) -> Tensor:
    """Int64 [B T]: a key for each frame of each clip, so that no two frames have the same noise."""
    return (key_B1 + torch.arange(length, device=key_B1.device) * _FRAMES).flatten()


def noise(canvas: Canvas, keys_N: Tensor, grey_N: Tensor, stream: int) -> Tensor:
    """Standard normal [N, C, H, W], one number for all channels where grey."""
    channels, height, width = canvas.images_NCHW.shape[1:]
    coloured = normal_pattern(keys_N, (channels, height, width), stream)
    return torch.where(grey_N[:, None, None, None], coloured[:, :1], coloured)


def gaussian_or_poisson(
    canvas: Canvas, normal_NCHW: Tensor, gaussian_N: Tensor, sigma_N: Tensor, scale_N: Tensor, grey_N: Tensor
) -> Tensor:
    """Images with noise, clipped to [0, 1] (BasicSR's `random_add_*_noise_pt`).

    A photon is 1 / 2^ceil(log2 n) of full brightness, n how many of the 256 levels the image has. Counts are those of
    Cornish and Fisher's expansion (1938) of the Poisson quantile, at most one photon off.

    Args:
        normal_NCHW: standard normal.
        gaussian_N: bool; false: Poisson.
        sigma_N: standard deviation of values in [0, 1].
        scale_N: factor of the Poisson noise.
        grey_N: bool; Poisson noise is then that of the grey image.
    """
    images = canvas.images_NCHW
    sigma, scale, gaussian, grey = (v[:, None, None, None] for v in (sigma_N, scale_N, gaussian_N, grey_N))
    with torch.no_grad():
        lit = torch.where(grey, _luma(images), images)
        levels = (lit.clamp(0, 1) * 255).round()
        photons = 2 ** _distinct(levels, canvas.inside()).log2().ceil()
        mean = levels / 255 * photons[:, None, None, None]
        counts = torch.floor(mean + mean.sqrt() * normal_NCHW + (normal_NCHW**2 - 1) / 6 + 0.5).clamp(min=0)
        counts = torch.where(mean > 0, counts, 0)
        poisson = (counts - mean) / photons[:, None, None, None] * scale
        added = torch.where(gaussian, sigma * normal_NCHW, poisson)
    return (images + added).clamp(0, 1)


def jpeg(images_NCHW: Tensor, quality_N: Tensor) -> Tensor:
    """The differentiable JPEG, a quality for each image; grey images as three equal channels."""
    return soft_jpeg(images_NCHW.clamp(0, 1), quality_N).clamp(0, 1)


def _luma(images_NCHW: Tensor) -> Tensor:
    if images_NCHW.shape[1] == 1:
        return images_NCHW
    shares = torch.tensor([0.2989, 0.587, 0.114], device=images_NCHW.device).view(1, 3, 1, 1)
    return (images_NCHW * shares).sum(dim=1, keepdim=True)


def _distinct(levels_NCHW: Tensor, inside_N1HW: Tensor) -> Tensor:
    """How many of the 256 levels occur inside, float32 [N]."""
    places = torch.where(inside_N1HW, levels_NCHW, levels_NCHW[:, :1, :1, :1]).flatten(1).long()
    seen = torch.zeros(len(places), 256, device=places.device)
    return seen.scatter(1, places, 1.0).sum(dim=1)
