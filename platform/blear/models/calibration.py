"""Temperatures of a classifier that depend on how degraded a face is.

The logarithm of the temperature is a linear function of the face's estimated degradation, as in parameterised
temperature scaling (Tomani et al. 2022) with features of the input instead of the outputs. Its coefficients minimise
the negative log-likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch import Tensor

_LEAST, _MOST = 0.25, 8.0
_DECAY = 1e-3  # of the coefficients, so that features that do not vary have none


class Calibration(BaseModel):
    """Coefficients of the logarithm of a temperature."""

    model_config = ConfigDict(frozen=True)
    side: float = Field(gt=0, description="side of the model's input in pixels; larger faces count as this large")
    constant: float = Field(0.0, description="logarithm of the temperature of a face without degradation")
    size: float = Field(0.0, description="for each halving of the side below `side`")
    blur: float = Field(0.0, description="for blur 1, see `estimate_degradation`")
    blockiness: float = Field(0.0, description="for each unit of log(1 + blockiness)")
    noise: float = Field(0.0, description="for each unit of log(1 + noise)")

    def temperature(self, face_px: float, degradation: Mapping[str, float]) -> float:
        """The temperature of a face, within 0.25 and 8.

        Args:
            face_px: smaller side of the face in pixels of its frame.
            degradation: result of `estimate_degradation`; empty: not known.
        """
        weights = [self.constant, self.size, self.blur, self.blockiness, self.noise]
        exponent = float(np.dot(weights, features(face_px, degradation, self.side)))
        return min(_MOST, max(_LEAST, math.exp(min(5.0, max(-5.0, exponent)))))


def features(face_px: float, degradation: Mapping[str, float], side: float) -> np.ndarray:
    """Features of a face, float64 [5]: 1, halvings of the side, blur, log(1 + blockiness), log(1 + noise)."""
    halvings = max(0.0, math.log2(side / max(1.0, face_px)))
    values = [max(0.0, degradation.get(name, 0.0)) for name in ("blur", "blockiness", "noise")]
    return np.array([1.0, halvings, values[0], math.log1p(values[1]), math.log1p(values[2])])


def calibrated(probabilities_K: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities p become p^(1/T), normalised."""
    logarithms = np.log(np.maximum(probabilities_K.astype(np.float64), 1e-12)) / temperature
    powers = np.exp(logarithms - logarithms.max())
    return (powers / powers.sum()).astype(np.float32)


def fit_calibration(probabilities_NK: Tensor, truth_N: Tensor, features_NF: np.ndarray, side: float) -> Calibration:
    """Fits the coefficients by L-BFGS.

    Args:
        probabilities_NK: of the model without temperature.
        truth_N: class indices.
        features_NF: `features` of each face.
        side: see `Calibration.side`.
    """
    import torch

    logits = probabilities_NK.double().clamp_min(1e-12).log()
    inputs = torch.from_numpy(np.asarray(features_NF, np.float64))
    weights = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scaled = logits / (inputs @ weights).clamp(-5, 5).exp()[:, None]
        value = torch.nn.functional.cross_entropy(scaled, truth_N) + _DECAY * (weights[1:] ** 2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    names = ("constant", "size", "blur", "blockiness", "noise")
    return Calibration(side=side, **dict(zip(names, weights.detach().tolist(), strict=True)))
