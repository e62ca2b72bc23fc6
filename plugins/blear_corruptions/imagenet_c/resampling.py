"""Resampling functions of ImageNet-C's operations: bilinear sampling, clipped zoom, motion blur."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad


def sample(images_NCHW: Tensor, y_NHW: Tensor, x_NHW: Tensor, *, mirror_edge: bool = False) -> Tensor:
    """Returns bilinear values at pixel coordinates. Coordinates outside the image are mirrored into it.

    Args:
        images_NCHW: float32.
        y_NHW, x_NHW: coordinates; any shape that broadcasts to [N, H, W].
        mirror_edge: true mirrors at the outer border of the edge pixel (scipy's "reflect"), false at the centre of the
            edge pixel (OpenCV's BORDER_REFLECT_101).
    """
    y, x = torch.broadcast_tensors(y_NHW, x_NHW)
    height, width = images_NCHW.shape[-2:]
    if mirror_edge:
        places = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    else:
        places = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
    return grid_sample(images_NCHW, places, padding_mode="reflection", align_corners=not mirror_edge)


def zoom_line(side: int, factor: float) -> tuple[float, float]:
    """Returns the source of pixel 0 of a zoomed row or column, and the step to the next source, in pixels.

    The zoom is `clipped_zoom` of the authors' script: scipy's `zoom` of the ceil(side / factor) central pixels, cut.
    """
    kept = math.ceil(side / factor)
    enlarged = round(kept * factor)
    step = (kept - 1) / (enlarged - 1)
    return (side - kept) // 2 + (enlarged - side) // 2 * step, step


def clipped_zoom(images_NCHW: Tensor, factor: float) -> Tensor:
    """Returns images whose centre is enlarged and trimmed to the same shape, by `zoom_line` along both axes."""
    sides = images_NCHW.shape[-2:]
    for axis, side in enumerate(sides, start=2):
        kept = math.ceil(side / factor)
        images_NCHW = images_NCHW.narrow(axis, (side - kept) // 2, kept)
    enlarged = [round(kept * factor) for kept in images_NCHW.shape[-2:]]
    zoomed = interpolate(images_NCHW, enlarged, mode="bilinear", align_corners=True)
    for axis, side in enumerate(sides, start=2):
        zoomed = zoomed.narrow(axis, (zoomed.shape[axis] - side) // 2, side)
    return zoomed


def trail(images_NCHW: Tensor, radius: Tensor, sigma: Tensor, degrees: Tensor, longest: int) -> Tensor:
    """Returns images after ImageMagick's MotionBlurImage: a half Gaussian of 2 radius + 1 pixels in one direction.

    The border is repeated.

    Args:
        images_NCHW: float32.
        radius, sigma: in pixels, [N, 1, 1, 1].
        degrees: direction, clockwise from the right, [N, 1, 1, 1].
        longest: the largest radius of the batch.
    """
    device = images_NCHW.device
    step = torch.arange(2 * longest + 1, device=device)
    weights = torch.where(step <= 2 * radius, torch.exp(-(step**2) / (2 * sigma**2)), 0).flatten(1)  # [N, steps]
    weights = weights / weights.sum(dim=1, keepdim=True)
    angle = torch.deg2rad(degrees).flatten(1)
    down, right = (torch.ceil(step * turn - 0.5).long() for turn in (angle.sin(), angle.cos()))
    if device.type == "cpu" and not torch.compiler.is_compiling():
        return _trail_by_image(images_NCHW, weights, down, right, 2 * longest)
    batch, _, height, width = images_NCHW.shape
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    which = torch.arange(batch, device=device)[:, None, None]
    images_NHWC = images_NCHW.permute(0, 2, 3, 1)
    blurred = torch.zeros_like(images_NHWC)
    for i in range(2 * longest + 1):
        y = (rows + down[:, i : i + 1]).clamp(0, height - 1)
        x = (columns + right[:, i : i + 1]).clamp(0, width - 1)
        blurred = blurred + weights[:, i, None, None, None] * images_NHWC[which, y[:, :, None], x[:, None, :]]
    return blurred.permute(0, 3, 1, 2)


def _trail_by_image(images_NCHW: Tensor, weights: Tensor, down: Tensor, right: Tensor, reach: int) -> Tensor:
    """Returns the same as `trail`, ten times faster on a CPU: a sum of shifted views of the padded image."""
    height, width = images_NCHW.shape[-2:]
    padded = pad(images_NCHW, (reach, reach, reach, reach), mode="replicate")
    done = []
    for image, *lists in zip(padded, weights.tolist(), down.tolist(), right.tolist(), strict=True):
        blurred = torch.zeros_like(images_NCHW[0])
        for weight, y, x in zip(*lists, strict=True):
            if weight > 0:
                view = image[:, reach + y : reach + y + height, reach + x : reach + x + width]
                blurred.add_(view, alpha=weight)
        done.append(blurred)
    return torch.stack(done)
