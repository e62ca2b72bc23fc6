"""A detected face, and what all locators of frames share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from blear.contracts import default_device
from blear.errors import PluginError
from blear.imaging import Box


@dataclass(frozen=True)
class Face:
    """One detected face.

    Attributes:
        box: in pixels of the frame, 0-based.
        probability: confidence of the detection, in [0, 1].
        points_52: landmarks in pixels of the frame, float32 [5, 2] as (x, y): left eye, right eye, nose tip, left and
            right mouth corner, left and right as in the image.
    """

    box: Box
    probability: float
    points_52: np.ndarray


class BatchLocator(ABC):
    """Detects faces in batches of frames of one size."""

    def faces(self, frames_THWC: np.ndarray) -> list[list[Face]]:
        """All faces of each frame, the largest first.

        Args:
            frames_THWC: RGB uint8 [T, H, W, 3].

        Raises:
            ValueError: the frames have another dtype or shape.
        """
        if frames_THWC.ndim != 4 or frames_THWC.shape[3] != 3 or frames_THWC.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 [T, H, W, 3], got {frames_THWC.dtype} {list(frames_THWC.shape)}")
        if not len(frames_THWC):
            return []
        return [
            sorted(faces, key=lambda face: -face.box.width * face.box.height) for faces in self._detect(frames_THWC)
        ]

    def locate(self, frames_THWC: np.ndarray) -> list[Face | None]:
        """The largest face of each frame, or None. Arguments and errors: see `faces`."""
        return [faces[0] if faces else None for faces in self.faces(frames_THWC)]

    @abstractmethod
    def _detect(self, frames_THWC: np.ndarray) -> Iterable[list[Face]]:
        """The faces of each of T >= 1 frames, in any order."""


def torch_device(name: str) -> str:
    """Returns `name`; for "auto" the GPU where there is one, else the CPU.

    Raises:
        PluginError: there is no such device.
    """
    if name.partition(":")[0] not in ("auto", "cpu", "cuda"):
        raise PluginError(f"there is no device {name!r}", "device", "give cpu, cuda or auto")
    if name.startswith("cuda") and default_device() != "cuda":
        raise PluginError("torch can use no GPU of this machine", f"device {name}", "give cpu or auto")
    return default_device() if name == "auto" else name
