"""A chain of degradations as a callable of named arrays, as albumentations has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from blear_interop.pictures import Chain, Degrader


class ArrayTransform:
    """`transform(image=array)["image"]` is the degraded picture; other named values pass through.

    The draws come from a generator of the transform, which `set_random_seed` restarts. In a worker of a DataLoader the
    generator depends on the worker's seed too, so that workers and epochs have draws of their own; `torch.manual_seed`
    and `seed` together repeat them. In albumentations:
    `A.Lambda(image=lambda image, **kwargs: transform(image=image)["image"])`.

    Args:
        degradations: the chain, as `degrade` of a job's stage.
        seed: seed of the draws; None: another one each time.
        plugins: paths of one-file plugins that the chain uses.
    """

    def __init__(self, degradations: Chain, *, seed: int | None = None, plugins: Sequence[str] = ()) -> None:
        self._degrader = Degrader(degradations, plugins=plugins)
        self.set_random_seed(seed)

    def set_random_seed(self, seed: int | None) -> None:
        """Restarts the draws."""
        self._seed = seed
        self._start()

    def __call__(self, *, image: np.ndarray, **others: Any) -> dict[str, Any]:
        """Degrades `image`, [H, W] or [H, W, C], uint8 or float in [0, 1]; colours are RGB.

        A picture of OpenCV is BGR: `cv2.cvtColor(image, cv2.COLOR_BGR2RGB)` before, and back afterwards.

        Raises:
            ValueError: the picture has another form.
        """
        if image.ndim not in (2, 3):
            raise ValueError(f"a picture of shape {list(image.shape)}: give [H, W] or [H, W, C]")
        if _worker_seed() != self._worker:  # this process is another one than that of the last start
            self._start()
        tensor = torch.from_numpy(np.require(image, requirements=["C", "W"]))
        picture_CHW = tensor[None] if image.ndim == 2 else tensor.movedim(-1, 0)
        degraded = self._degrader.picture(picture_CHW, int(self._random.integers(2**31)))
        array = degraded[0] if image.ndim == 2 else degraded.movedim(0, -1)
        return {**others, "image": np.ascontiguousarray(array.numpy())}

    def _start(self) -> None:
        self._worker = _worker_seed()
        both = [self._seed, self._worker] if self._seed is not None and self._worker is not None else self._seed
        self._random = np.random.default_rng(both)


def _worker_seed() -> int | None:
    """Seed of this worker of a DataLoader, another one in each epoch; None in the main process."""
    worker = get_worker_info()
    return None if worker is None else worker.seed
