"""Compatibility of imagecorruptions 1.1.2 (2020) with current NumPy, SciPy, scikit-image and setuptools."""

from __future__ import annotations

import contextlib
import importlib.resources
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def corrupt() -> Callable[..., np.ndarray] | None:
    """Returns its `corrupt(image, severity=, corruption_name=)` for uint8 [H, W, 3], or None if not installed."""
    with _as_it_was():
        try:
            import imagecorruptions
            from imagecorruptions import corruptions
        except ModuleNotFoundError as error:
            if error.name != "imagecorruptions":
                raise
            return None
    smooth = corruptions.gaussian

    def gaussian(image: np.ndarray, *sigma: float, multichannel: bool = False, **given: Any) -> np.ndarray:
        return smooth(image, *sigma, channel_axis=-1 if multichannel else None, **given)

    corruptions.gaussian = gaussian  # scikit-image has renamed the argument
    return imagecorruptions.corrupt


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Restores the removed names that imagecorruptions imports, for a block of code."""
    import scipy.ndimage

    resources = types.ModuleType("pkg_resources")
    resources.resource_filename = lambda package, name: str(importlib.resources.files(package.split(".")[0]) / name)  # type: ignore[attr-defined]
    interpolation = types.ModuleType("scipy.ndimage.interpolation")
    interpolation.map_coordinates = scipy.ndimage.map_coordinates  # type: ignore[attr-defined]
    for name, module in (("pkg_resources", resources), ("scipy.ndimage.interpolation", interpolation)):
        sys.modules[name] = module
    np.float_ = np.float64  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
