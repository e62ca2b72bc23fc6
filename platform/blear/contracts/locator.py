"""Locators: detectors of faces in frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from blear.imaging import Box


@runtime_checkable
class Detection(Protocol):
    """One detected face.

    Attributes:
        box: the face in pixels of the frame, 0-based; it may reach beyond the frame's border.
    """

    @property
    def box(self) -> Box: ...


@runtime_checkable
class Locator(Protocol):
    """A face detector. It is built with an empty `BuildContext`."""

    def faces(self, frames_THWC: np.ndarray) -> Sequence[Sequence[Detection]]:
        """Detects the faces of each frame, the most prominent face first.

        Args:
            frames_THWC: RGB uint8 [T, H, W, 3]; T may be 0.

        Returns:
            T sequences; an empty one for a frame without a face.

        Raises:
            ValueError: the frames have another dtype or shape.
        """
        ...


@runtime_checkable
class TimedLocator(Locator, Protocol):
    """A locator that needs the place of the frames in their video, for instance because it reads a table."""

    def faces_at(self, frames_T: Sequence[int], seconds_T: Sequence[float]) -> Sequence[Sequence[Detection]]:
        """The faces of frames, the most prominent face first.

        Args:
            frames_T: numbers of the frames in the video, from 0.
            seconds_T: times of the frames in seconds from the start of the video.
        """
        ...
