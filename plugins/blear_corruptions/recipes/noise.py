"""Noise of the recipes on canvases (Gaussian or Poisson, coloured or grey, as in Real-ESRGAN), and JPEG."""

from __future__ import annotations

import torch
from torch import Tensor

from blear_corruptions.compression.codec import soft_jpeg
from blear_corruptions.imagenet_c.noise import poisson_quantile
from blear_corruptions.random_patterns import normal_pattern
from blear_corruptions.recipes.canvas import Canvas

_FRAMES = 2**40


def frame_keys(key_B1: Tensor, length: int) -> Tensor:
    """Returns one key for each frame of each clip, int64 [B T], so that every frame has its own noise."""
    return (key_B1 + torch.arange(length, device=key_B1.device) * _FRAMES).flatten()


def noise(canvas: Canvas, keys_N: Tensor, grey_N: Tensor, stream: int) -> Tensor:
    """Returns standard normal noise [N, C, H, W]; grey noise has one number for all channels."""
    channels, height, width = canvas.images_NCHW.shape[1:]
    coloured = normal_pattern(keys_N, (channels, height, width), stream)
    return torch.where(grey_N[:, None, None, None], coloured[:, :1], coloured)


def gaussian_or_poisson(
    canvas: Canvas, normal_NCHW: Tensor, gaussian_N: Tensor, sigma_N: Tensor, scale_N: Tensor, grey_N: Tensor
) -> Tensor:
    """Returns images with noise, limited to [0, 1] (BasicSR's `random_add_*_noise_pt`).

    One photon is 1 / 2^ceil(log2 n) of full brightness; n is the number of different levels (of 256) in the image.
    Photon counts are quantiles of the normal numbers. They have no gradient.

    Args:
        canvas: the images.
        normal_NCHW: standard normal numbers.
        gaussian_N: bool; true: Gaussian noise, false: Poisson noise.
        sigma_N: standard deviation of Gaussian noise, of values in [0, 1].
        scale_N: factor of the Poisson noise.
        grey_N: bool; true: the Poisson noise is that of the grey image.
    """
    images = canvas.images_NCHW
    sigma, scale, gaussian, grey = (v[:, None, None, None] for v in (sigma_N, scale_N, gaussian_N, grey_N))
    with torch.no_grad():
        lit = torch.where(grey, _luma(images), images)
        levels = (lit.clamp(0, 1) * 255).round()
        photons = 2 ** _distinct(levels, canvas.inside()).log2().ceil()
        mean = levels / 255 * photons[:, None, None, None]
        poisson = (poisson_quantile(mean, normal_NCHW) - mean) / photons[:, None, None, None] * scale
        added = torch.where(gaussian, sigma * normal_NCHW, poisson)
    return (images + added).clamp(0, 1)


def jpeg(images_NCHW: Tensor, quality_N: Tensor) -> Tensor:
    """Returns images after differentiable JPEG, one quality for each image. Grey images have three equal channels."""
    return soft_jpeg(images_NCHW.clamp(0, 1), quality_N).clamp(0, 1)


def _luma(images_NCHW: Tensor) -> Tensor:
    if images_NCHW.shape[1] == 1:
        return images_NCHW
    shares = torch.tensor([0.2989, 0.587, 0.114], device=images_NCHW.device).view(1, 3, 1, 1)
    return (images_NCHW * shares).sum(dim=1, keepdim=True)


def _distinct(levels_NCHW: Tensor, inside_N1HW: Tensor) -> Tensor:
    """Returns the number of different levels (of 256) inside each image, float32 [N]."""
    places = torch.where(inside_N1HW, levels_NCHW, levels_NCHW[:, :1, :1, :1]).flatten(1).long()
    seen = torch.zeros(len(places), 256, device=places.device)
    return seen.scatter(1, places, 1.0).sum(dim=1)
