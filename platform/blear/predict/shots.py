"""Finds hard cuts in a video from small copies of its frames."""

from __future__ import annotations

from collections import deque

import numpy as np

_LEAST, _TIMES = 6.0, 2.5  # a cut differs by more than _LEAST + _TIMES * the mean of the differences before
_MEAN_BEFORE = 2.0  # in place of the mean, at the beginning of the video
_RECENT = 10  # differences in the mean
_FLASH = 5  # frames; a shorter shot between similar frames is a flash or a damaged place


class ShotCounter:
    """Numbers the shots of a video. A hard cut begins a new shot; fades and dissolves do not.

    A frame begins a shot if its mean absolute difference from the frame before is large in comparison with those of the
    last ten frames. If a later frame, at most five frames after a cut, is similar to the last one before the cut, the
    cut was a flash of light or a damaged place, and the shot before goes on.
    """

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._differences: deque[float] = deque(maxlen=_RECENT)
        self._shot = self._shots = 0
        self._before: tuple[np.ndarray, int, float] | None = None  # last thumbnail before a cut, its shot, threshold
        self._age = 0

    def __call__(self, thumbnail_HWC: np.ndarray) -> int:
        """The number of the shot of the next frame, from 0.

        Args:
            thumbnail_HWC: the frame in a small size, uint8; all thumbnails of a video have one size.
        """
        now, last = thumbnail_HWC.astype(np.int16), self._last
        self._last, self._age = now, self._age + 1
        if last is None:
            return 0
        difference = _difference(now, last)
        mean = sum(self._differences) / len(self._differences) if self._differences else _MEAN_BEFORE
        threshold = _LEAST + _TIMES * mean
        if self._before is not None and self._age <= _FLASH:
            before, shot, least = self._before
            if difference > threshold and _difference(now, before) < least:
                self._shot, self._before = shot, None
                return shot
        if difference > threshold:
            self._before, self._age = (last, self._shot, threshold), 0
            self._shots += 1
            self._shot = self._shots
        self._differences.append(min(difference, 2 * threshold))  # fast changes of all frames are no cuts
        return self._shot


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())
