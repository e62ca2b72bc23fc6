"""Smooths the predictions of a person over time; certain predictions weigh more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from blear.predict.video_state import array_from_json, array_to_json

_MOST = 1000  # persons and targets, above which those of long ago are forgotten
_LONG_AGO = 100.0  # time constants; the weight of what came before is then below the rounding of the average

Prediction = Mapping[str, np.ndarray]
"""Target -> probabilities [K], or a value [1]."""


class TrackSmoother:
    """Exponential average of each person's predictions, weighted with their certainty.

    The weight of probabilities is the detector's confidence times one minus their entropy as a share of the largest;
    that of a value is the detector's confidence times the face's side, up to the side of the model's input.

    Args:
        seconds: time constant; a prediction of this age has 1/e of its weight.
        full_px: side of a face, in pixels, at which its value has the full weight.
    """

    def __init__(self, seconds: float, full_px: float) -> None:
        self._seconds, self._full_px = seconds, full_px
        self._states: dict[tuple[object, str], tuple[float, float, np.ndarray]] = {}  # time, sum of weights, average

    def __call__(self, person: object, time: float, face_px: float, score: float, prediction: Prediction) -> Prediction:
        """The smoothed predictions of a person at a time, with those of this time."""
        if len(self._states) > _MOST:
            oldest = time - _LONG_AGO * self._seconds
            self._states = {key: state for key, state in self._states.items() if state[0] >= oldest}
        smoothed = {}
        for target, now in prediction.items():
            weight = max(1e-3, score * (_certainty(now) if len(now) > 1 else min(1.0, face_px / self._full_px)))
            before, total, average = self._states.get((person, target), (time, 0.0, now))
            total *= math.exp(-(time - before) / self._seconds)
            average = (total * average + weight * now) / (total + weight)
            self._states[person, target] = time, total + weight, average
            smoothed[target] = average
        return smoothed

    def state(self) -> list[Any]:
        """The averages, as values that JSON can hold; see `video_state.Stateful`."""
        return [
            [person, target, time, total, array_to_json(average)]
            for (person, target), (time, total, average) in self._states.items()
        ]

    def restore(self, state: Iterable[Any]) -> None:
        """Continues with the averages of a `state`."""
        self._states = {
            (person, target): (time, total, array_from_json(average)) for person, target, time, total, average in state
        }


def _certainty(probabilities: np.ndarray) -> float:
    positive = probabilities[probabilities > 0]
    return 1 - float(-(positive * np.log(positive)).sum()) / math.log(len(probabilities))
