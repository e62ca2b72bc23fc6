"""Predicts where a face goes: a Kalman filter with constant velocity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from blear.imaging import Box

_MEASURED = 0.06  # standard deviation of a detected box, in sides of the face; at least one pixel
_PUSH = 4.0  # variance of the speed that one second adds, in squared sides per second
_SPEED = 2.0  # standard deviation of the speed of a new face, in sides per second
_FAST = 5.0  # speed of a face that moves fast, in sides per second
_MEMORY_S = 1.0  # a speed that is not measured any more falls to 1/e in this time


class FaceMotion:
    """Position and speed of one face: centre, width and height, each filtered alone with the same uncertainty.

    Args:
        box: the first detection.
        seconds: its time.
    """

    def __init__(self, box: Box, seconds: float) -> None:
        self._place_4, self._speed_4 = _vector(box), np.zeros(4)
        side = self._side()
        self._covariance_22 = np.diag([measured(side) ** 2, (_SPEED * side) ** 2])
        self._seconds = seconds

    def predict(self, seconds: float) -> tuple[Box, float]:
        """The expected box at a time, and the standard deviation of its centre in pixels."""
        place_4, _, covariance_22 = self._move(seconds)
        return _box(place_4), math.sqrt(covariance_22[0, 0])

    def turned(self, seconds: float) -> tuple[Box, float]:
        """The last known box, and the way in pixels that the face can have gone from there if it has turned."""
        step = max(0.0, seconds - self._seconds)
        return _box(self._place_4), max(math.hypot(*self._speed_4[:2]), _FAST * self._side()) * step

    def update(self, box: Box, seconds: float) -> None:
        """Takes a further detection into account."""
        place_4, speed_4, covariance_22 = self._move(seconds)
        side = self._side()
        gain_2 = covariance_22[:, 0] / (covariance_22[0, 0] + measured(side) ** 2)
        error_4 = _vector(box) - place_4
        self._place_4, self._speed_4 = place_4 + gain_2[0] * error_4, speed_4 + gain_2[1] * error_4
        self._covariance_22 = covariance_22 - np.outer(gain_2, covariance_22[0])
        self._seconds = seconds

    def state(self) -> list[Any]:
        """Place, speed, covariance and time, as values that JSON can hold."""
        return [self._place_4.tolist(), self._speed_4.tolist(), self._covariance_22.tolist(), self._seconds]

    @classmethod
    def from_state(cls, state: list[Any]) -> FaceMotion:
        """The motion of a `state`."""
        place, speed, covariance, seconds = state
        motion = cls(_box(np.array(place)), seconds)
        motion._place_4, motion._speed_4 = np.array(place), np.array(speed)
        motion._covariance_22 = np.array(covariance)
        return motion

    def _move(self, seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Place, speed and covariance at a time."""
        step = max(0.0, seconds - self._seconds)
        kept = math.exp(-step / _MEMORY_S)
        way = _MEMORY_S * (1 - kept)  # of one side per second, slowing down
        transition_22 = np.array([[1.0, way], [0.0, kept]])
        added_22 = np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]]) * _PUSH * self._side() ** 2
        covariance_22 = transition_22 @ self._covariance_22 @ transition_22.T + added_22
        return self._place_4 + way * self._speed_4, kept * self._speed_4, covariance_22

    def _side(self) -> float:
        return math.sqrt(max(1.0, self._place_4[2]) * max(1.0, self._place_4[3]))


def measured(side: float) -> float:
    """Standard deviation of the centre of a detected face of a side, in pixels."""
    return max(1.0, _MEASURED * side)


def _vector(box: Box) -> np.ndarray:
    return np.array([box.left + box.width / 2, box.top + box.height / 2, box.width, box.height])


def _box(place_4: np.ndarray) -> Box:
    x, y, width, height = place_4.tolist()
    width, height = max(1.0, width), max(1.0, height)
    return Box(x - width / 2, y - height / 2, width, height)
