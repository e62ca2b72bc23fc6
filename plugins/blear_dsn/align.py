"""Face alignment by a similarity transform of five landmarks onto a template (spec section 7, item 3).

The transform has the closed form of Umeyama 1991 (Least-squares estimation of transformation parameters between two
point patterns). The template is that of ArcFace (Deng et al. 2019) for 112 x 112 pixels, scaled to the size of the
face. The alignment program of the DSN authors is not published.
"""

from __future__ import annotations

import numpy as np

from blear.imaging import align as warp
from blear.imaging import similarity

__all__ = ["align", "similarity", "template"]

_TEMPLATE_SIDE = 112
_TEMPLATE_52 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def template_points() -> tuple[tuple[float, float], ...]:
    """The template in shares of the side of the face, for `Framing.points`."""
    return tuple((float(x), float(y)) for x, y in (_TEMPLATE_52 + 0.5) / _TEMPLATE_SIDE)


def template(size: int) -> np.ndarray:
    """Returns the target landmarks, float64 [5, 2] as (x, y) pixels.

    Order: the eye on the left of the image, the eye on the right, nose tip, left and right mouth corner.
    """
    return (_TEMPLATE_52 + 0.5) * (size / _TEMPLATE_SIDE) - 0.5


def align(image_HWC: np.ndarray, points_52: np.ndarray, size: int) -> np.ndarray:
    """Warps a face onto the template. Returns uint8 [size, size, 3]; pixels outside the image are black.

    Args:
        image_HWC: uint8 [H, W, 3].
        points_52: landmarks in the order of `template`, (x, y) in pixels of the image.
        size: height and width of the result.

    Raises:
        ValueError: as `similarity`.
    """
    return warp(image_HWC, points_52, template(size), size)
