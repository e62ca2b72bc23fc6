"""Drawing primitives on batches of images: coordinates, anti-aliased coverage, blending, windows.

Per pixel only +, -, *, /, sqrt, comparisons and floor are used: they are exactly rounded on every device and vector
width, so that a face is the same to the bit whatever batch it is drawn in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Look = dict[str, Tensor]
"""What is drawn: name -> float32 [N, 1, 1] (numbers) or [N, 3, 1, 1] (colours)."""

SOFTNESS = 1.5
"""Width of an edge in pixels: the footprint of the smoothstep that turns a distance into coverage."""


@dataclass(frozen=True)
class View:
    """Pixels being painted: `image` [N, 3, h, w] in [0, 1] and each pixel's face coordinates u (right), v (down)."""

    image: Tensor
    u: Tensor
    v: Tensor
    scale: Tensor

    def inside(self, distance: Tensor) -> Tensor:
        """Coverage in [0, 1] of the region where a signed distance (face units) is negative."""
        t = (0.5 - distance * (self.scale / SOFTNESS)).clamp(0, 1)
        return t * t * (3 - 2 * t)

    def stroke(self, distance: Tensor, half_width: Tensor | float) -> Tensor:
        """Coverage of a line of the given half width around the zero of a distance."""
        return self.inside(distance.abs() - half_width)

    def blend(self, coverage: Tensor, color: Tensor) -> None:
        """Paints a colour over the image where coverage is above zero."""
        self.image.add_((color - self.image) * coverage.unsqueeze(1))

    def shade(self, factor: Tensor) -> None:
        """Multiplies the image by a factor for each pixel."""
        self.image.mul_(factor.unsqueeze(1))


def blob(u: Tensor, v: Tensor, radius_u: Tensor | float, radius_v: Tensor | float) -> Tensor:
    """A soft bump, 1 at the centre and 0 outside the ellipse."""
    x, y = u / radius_u, v / radius_v
    t = (1 - x * x - y * y).clamp(min=0)
    return t * t


def ellipse(u: Tensor, v: Tensor, radius_u: Tensor | float, radius_v: Tensor | float) -> Tensor:
    """About the signed distance to an ellipse: exact on its outline to first order."""
    x, y = u / radius_u, v / radius_v
    q = x * x + y * y
    gx, gy = x / radius_u, y / radius_v
    return (q - 1) / (2 * (gx * gx + gy * gy + 1e-6).sqrt())


@dataclass(frozen=True)
class Canvas:
    """A batch of square images and where the face lies in them."""

    image: Tensor
    size: int
    look: Look

    @staticmethod
    def blank(look: Look, size: int) -> Canvas:
        """Black images for the rows of `look`."""
        return Canvas(torch.zeros(len(look["scale"]), 3, size, size), size, look)

    def view(self) -> View:
        """The whole canvas."""
        pixels = torch.arange(self.size, dtype=torch.float32) + 0.5
        return self._view(self.image, pixels[None, None, :], pixels[None, :, None])

    def window(self, at_u: Tensor, at_v: Tensor, radius: float) -> tuple[View, tuple[Tensor, ...]]:
        """A square part around a face position: a copy to paint on and the index that `put` takes to write it back.

        Its size in pixels depends on the canvas only; near the border it is moved inwards.
        """
        k = self.look
        half = min(int(radius * self.size * MAX_SCALE) + 2, self.size // 2)
        x = k["center_x"] + (at_u * k["cos"] - at_v * k["sin"]) * k["scale"]
        y = k["center_y"] + (at_u * k["sin"] + at_v * k["cos"]) * k["scale"]
        left, top = ((c.floor().long() - half).clamp(0, self.size - 2 * half) for c in (x, y))
        span = torch.arange(2 * half)
        columns, rows = left + span[None, None, :], top + span[None, :, None]
        index = (
            torch.arange(len(self.image))[:, None, None, None],
            torch.arange(3)[None, :, None, None],
            rows[:, None],
            columns[:, None],
        )
        return self._view(self.image[index], columns + 0.5, rows + 0.5), index

    def put(self, view: View, index: tuple[Tensor, ...]) -> None:
        """Writes a painted window back."""
        self.image[index] = view.image

    def _view(self, image: Tensor, x: Tensor, y: Tensor) -> View:
        k = self.look
        dx, dy = (x - k["center_x"]) / k["scale"], (y - k["center_y"]) / k["scale"]
        return View(image, dx * k["cos"] + dy * k["sin"], dy * k["cos"] - dx * k["sin"], k["scale"])


MAX_SCALE = 0.44
"""Largest share of the canvas that one face unit takes; bounds the windows."""
