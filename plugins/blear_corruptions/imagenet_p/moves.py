"""Moves of the whole frame in ImageNet-P: shift, rotation, tilt, scale, shear. Each is a 3 x 3 matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def move_of(name: str, place_N: Tensor, height: int, width: int, small: bool) -> Tensor:
    """Returns matrices from an output pixel to its source pixel, float32 [N, 3, 3].

    Coordinates are homogeneous (x, y, 1), in pixels from the centre.

    Args:
        name: translate, rotate, tilt, scale, shear or zoom.
        place_N: float, position in the sequence, 0 to 30.
        height, width: of the frames, in pixels.
        small: selects the numbers for small frames.
    """
    zero, one = torch.zeros_like(place_N), torch.ones_like(place_N)
    match name:
        case "translate":
            return _rows((one, zero, (7 if small else 20) - place_N), (zero, one, zero), (zero, zero, one))
        case "rotate":
            turn = torch.deg2rad(place_N - 15)
            return _rows((turn.cos(), turn.sin(), zero), (-turn.sin(), turn.cos(), zero), (zero, zero, one))
        case "shear":
            return _rows((one, torch.tan(torch.deg2rad(place_N - 15)), zero), (zero, one, zero), (zero, zero, one))
        case "tilt":
            return _tilt(torch.deg2rad((place_N - 15) * (0.75 if small else 1)), math.hypot(height, width))
        case "scale":
            smaller = 100 / (place_N * 2 + 70 if small else place_N * 2.5 + 40)
        case _:
            smaller = 1 / (1 + 0.004 * place_N)
    return _rows((smaller, zero, zero), (zero, smaller, zero), (zero, zero, one))


def moved(images_NCHW: Tensor, matrix_N33: Tensor, black: bool) -> Tensor:
    """Returns bilinear values at the matrix's source pixels. Outside the frame: black, or the repeated border."""
    height, width = images_NCHW.shape[-2:]
    device = images_NCHW.device
    y = torch.arange(height, device=device) - (height - 1) / 2
    x = torch.arange(width, device=device) - (width - 1) / 2
    places_HW3 = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(height, width, device=device)], dim=-1)
    found = places_HW3 @ matrix_N33.mT[:, None]
    half = torch.tensor([width / 2, height / 2], device=device)
    grid = found[..., :2] / found[..., 2:] / half
    return grid_sample(images_NCHW, grid, padding_mode="zeros" if black else "border", align_corners=False)


def _tilt(angle_N: Tensor, away: float) -> Tensor:
    """Returns the inverse of a rotation about both axes by the same angle, seen from a distance of `away` pixels."""
    zero, one, cos, sin = torch.zeros_like(angle_N), torch.ones_like(angle_N), angle_N.cos(), angle_N.sin()
    about_x = _rows((one, zero, zero), (zero, cos, -sin), (zero, sin, cos))
    about_y = _rows((cos, zero, -sin), (zero, one, zero), (sin, zero, cos))
    seen = torch.diag(torch.tensor([away, away, 1.0], device=angle_N.device))
    farther = torch.zeros(3, 3, device=angle_N.device)
    farther[2, 2] = away
    return torch.linalg.inv(seen @ (about_x @ about_y + farther))


def _rows(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
