"""Face alignment by a similarity transform of five landmarks onto a template (spec section 7, item 3).

The transform has the closed form of Umeyama 1991 (Least-squares estimation of transformation parameters between two
point patterns). The template is that of ArcFace (Deng et al. 2019) for 112 x 112 pixels, scaled to the size of the
face. The alignment program of the DSN authors is not published.
"""

from __future__ import annotations

import cv2
import numpy as np

_TEMPLATE_SIDE = 112
_TEMPLATE_52 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def template(size: int) -> np.ndarray:
    """Returns the target landmarks, float64 [5, 2] as (x, y) pixels.

    Order: the eye on the left of the image, the eye on the right, nose tip, left and right mouth corner.
    """
    return (_TEMPLATE_52 + 0.5) * (size / _TEMPLATE_SIDE) - 0.5


def similarity(source_P2: np.ndarray, target_P2: np.ndarray) -> np.ndarray:
    """Fits the similarity transform (rotation, scale, translation; no reflection) from source to target points.

    Returns:
        The least-squares transform as an affine matrix, float64 [2, 3].

    Raises:
        ValueError: all source points coincide, or a point is not finite.
    """
    if not np.isfinite(source_P2).all():
        raise ValueError("the points are not finite")
    source_mean, target_mean = source_P2.mean(axis=0), target_P2.mean(axis=0)
    source, target = source_P2 - source_mean, target_P2 - target_mean
    spread = float((source**2).sum())
    if spread == 0:
        raise ValueError("the points coincide")
    left, values, right = np.linalg.svd(target.T @ source)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    matrix = (left * signs) @ right * ((values * signs).sum() / spread)
    return np.column_stack([matrix, target_mean - matrix @ source_mean])


def align(image_HWC: np.ndarray, points_52: np.ndarray, size: int) -> np.ndarray:
    """Warps a face onto the template. Returns uint8 [size, size, 3]; pixels outside the image are black.

    Args:
        image_HWC: uint8 [H, W, 3].
        points_52: landmarks in the order of `template`, (x, y) in pixels of the image.
        size: height and width of the result.

    Raises:
        ValueError: as `similarity`.
    """
    matrix = similarity(points_52, template(size))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:  # antialiasing: bilinear sampling alone would skip pixels of large images
        height, width = image_HWC.shape[:2]
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        image_HWC = cv2.resize(image_HWC, shape, interpolation=cv2.INTER_AREA)
        points_52 = (points_52 + 0.5) * (shape[0] / width, shape[1] / height) - 0.5
        matrix = similarity(points_52, template(size))
    return np.asarray(cv2.warpAffine(image_HWC, matrix, (size, size), flags=cv2.INTER_LINEAR))
