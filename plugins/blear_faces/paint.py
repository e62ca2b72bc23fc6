"""Drawing primitives on batches of images: coordinates, anti-aliased coverage, blending, windows.

The pixel operations are +, -, *, /, sqrt, comparisons and floor only. These are exactly rounded on every device and
vector width, so a face is the same to the bit in every batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Appearance = dict[str, Tensor]
"""Appearance of N faces: name -> float32 [N, 1, 1] (numbers) or [N, 3, 1, 1] (colours)."""

SOFTNESS = 1.5
"""Width of an edge in pixels: the range of distances over which the smoothstep goes from 0 to 1."""


@dataclass(frozen=True)
class View:
    """A region of the images, with face coordinates.

    Attributes:
        image: [N, 3, h, w] in [0, 1]; painted in place.
        u, v: face coordinates of each pixel, to the right and down.
        scale: pixels for each face unit.
    """

    image: Tensor
    u: Tensor
    v: Tensor
    scale: Tensor

    def inside(self, distance: Tensor) -> Tensor:
        """Coverage in [0, 1] of the region where a signed distance, in face units, is negative."""
        t = (0.5 - distance * (self.scale / SOFTNESS)).clamp(0, 1)
        return t * t * (3 - 2 * t)

    def stroke(self, distance: Tensor, half_width: Tensor | float) -> Tensor:
        """Coverage in [0, 1] of a line around the zeros of a signed distance."""
        return self.inside(distance.abs() - half_width)

    def blend(self, coverage: Tensor, color: Tensor) -> None:
        """Blends a colour over the image, in proportion to the coverage."""
        self.image.add_((color - self.image) * coverage.unsqueeze(1))

    def shade(self, factor: Tensor) -> None:
        """Multiplies each pixel of the image by a factor."""
        self.image.mul_(factor.unsqueeze(1))


def blob(u: Tensor, v: Tensor, radius_u: Tensor | float, radius_v: Tensor | float) -> Tensor:
    """A smooth bump: 1 at the centre of an ellipse, 0 outside of it."""
    x, y = u / radius_u, v / radius_v
    t = (1 - x * x - y * y).clamp(min=0)
    return t * t


def ellipse(u: Tensor, v: Tensor, radius_u: Tensor | float, radius_v: Tensor | float) -> Tensor:
    """Approximate signed distance to an ellipse; exact to first order on the outline."""
    x, y = u / radius_u, v / radius_v
    q = x * x + y * y
    gx, gy = x / radius_u, y / radius_v
    return (q - 1) / (2 * (gx * gx + gy * gy + 1e-6).sqrt())


@dataclass(frozen=True)
class Canvas:
    """A batch of square images with one face each.

    Attributes:
        image: [N, 3, size, size] in [0, 1]; painted in place.
    """

    image: Tensor
    size: int
    appearance: Appearance

    @staticmethod
    def blank(appearance: Appearance, size: int) -> Canvas:
        """Black images, one for each face of `appearance`."""
        return Canvas(torch.zeros(len(appearance["scale"]), 3, size, size), size, appearance)

    def view(self) -> View:
        """A view of the whole images."""
        pixels = torch.arange(self.size, dtype=torch.float32) + 0.5
        return self._view(self.image, pixels[None, None, :], pixels[None, :, None])

    def window(self, at_u: Tensor, at_v: Tensor, radius: float) -> tuple[View, tuple[Tensor, ...]]:
        """A square window around a point of the face; painting in it is faster than in the whole image.

        The window has the same size for all faces. Near the border of the image it is moved inwards.

        Args:
            at_u, at_v: centre of the window in face coordinates.
            radius: half its side in face units.

        Returns:
            A copy of the window to paint in, and its index in the image, for `put`.
        """
        k = self.appearance
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
        """Writes a painted window back to the images."""
        self.image[index] = view.image

    def _view(self, image: Tensor, x: Tensor, y: Tensor) -> View:
        k = self.appearance
        dx, dy = (x - k["center_x"]) / k["scale"], (y - k["center_y"]) / k["scale"]
        return View(image, dx * k["cos"] + dy * k["sin"], dy * k["cos"] - dx * k["sin"], k["scale"])


MAX_SCALE = 0.44
"""Largest length of one face unit as a share of the image side; determines the size of windows."""
