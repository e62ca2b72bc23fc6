"""Fits the temperatures of a model by degradation, on labelled faces that are degraded here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from blear.evaluate.statistics.calibration import calibration_scores
from blear.models.calibration import Calibration, calibrated, features, fit_calibration
from blear.predict.degradation import estimate_degradation

Classifier = Callable[[list[np.ndarray]], Mapping[str, Tensor]]
"""Grey pictures of any sizes -> target -> probabilities [N, K]; for instance a `Model`."""
Degrade = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _small(side: int) -> Degrade:
    return lambda face, generator: cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)


def _blurred(sigma: float) -> Degrade:
    return lambda face, generator: cv2.GaussianBlur(face, (0, 0), sigma)


def _noisy(sigma: float) -> Degrade:
    return lambda face, generator: np.clip(face + generator.normal(0, sigma, face.shape), 0, 255).astype(np.uint8)


def _compressed(quality: int) -> Degrade:
    def degrade(face: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        content = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE))

    return degrade


CONDITIONS: Mapping[str, Degrade] = {
    "clean": lambda face, generator: face,
    **{f"{side} px": _small(side) for side in (32, 24, 16, 12, 8)},
    **{f"blur {sigma:g}": _blurred(sigma) for sigma in (1.0, 1.5, 2.5)},
    **{f"noise {sigma:g}": _noisy(sigma) for sigma in (10, 25, 40)},
    **{f"JPEG q{quality}": _compressed(quality) for quality in (30, 10, 5)},
}
"""Condition -> what it does to a grey face."""


@dataclass(frozen=True)
class CalibrationResult:
    """A fitted calibration, and the expected calibration errors on faces that it was not fitted on.

    Attributes:
        before, after: condition -> error.
    """

    calibration: Calibration
    before: dict[str, float]
    after: dict[str, float]


def calibrate(model: Classifier, faces_NHW: np.ndarray, truth_N: np.ndarray, target: str) -> CalibrationResult:
    """Fits on faces of even number, tests on those of odd number, under all `CONDITIONS`.

    Args:
        faces_NHW: grey faces, uint8, of the size of the model's input.
        truth_N: class indices.
        target: the class target.
    """
    side = float(min(faces_NHW.shape[1:]))
    probabilities, inputs = [], []
    for probabilities_NK, features_NF in _degraded(model, faces_NHW, target, side):
        probabilities.append(probabilities_NK)
        inputs.append(features_NF)
    fitted, tested = np.arange(0, len(truth_N), 2), np.arange(1, len(truth_N), 2)
    calibration = fit_calibration(
        torch.cat([one[fitted] for one in probabilities]),
        torch.from_numpy(np.tile(truth_N[fitted], len(CONDITIONS))),
        np.concatenate([one[fitted] for one in inputs]),
        side,
    )
    before, after = {}, {}
    weights = np.array([getattr(calibration, name) for name in ("constant", "size", "blur", "blockiness", "noise")])
    for name, probabilities_NK, features_NF in zip(CONDITIONS, probabilities, inputs, strict=True):
        raw = probabilities_NK.numpy()[tested]
        temperatures = np.exp((features_NF[tested] @ weights).clip(-5, 5))
        scaled = np.stack([calibrated(row, value) for row, value in zip(raw, temperatures, strict=True)])
        before[name] = calibration_scores(raw, truth_N[tested]).ece
        after[name] = calibration_scores(scaled, truth_N[tested]).ece
    return CalibrationResult(calibration, before, after)


def _degraded(
    model: Classifier, faces_NHW: np.ndarray, target: str, side: float
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Probabilities and features of all faces under each condition."""
    for degrade in CONDITIONS.values():
        generator = np.random.default_rng(0)
        pictures = [degrade(face, generator) for face in faces_NHW]
        estimates = [estimate_degradation(np.repeat(picture[..., None], 3, axis=2)) for picture in pictures]
        sides = (min(picture.shape) for picture in pictures)
        found = np.stack([features(px, one, side) for px, one in zip(sides, estimates, strict=True)])
        yield model(pictures)[target], found
