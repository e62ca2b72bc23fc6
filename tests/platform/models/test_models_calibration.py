"""Temperatures by degradation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blear.evaluate.statistics.calibration import calibration_scores
from blear.models.calibration import Calibration, calibrated, features, fit_calibration
from blear.models.card import ModelCard


def overconfident(count: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """Probabilities of faces of 6 to 96 pixels whose logits are too large by 1.5 * 1.4^(halvings below 48)."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (count, 5))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([generator.choice(5, p=row) for row in true])
    sides, noise = 2 ** generator.uniform(np.log2(6), np.log2(96), count), generator.uniform(0, 30, count)
    inputs = np.stack([features(px, {"noise": one}, 48) for px, one in zip(sides, noise, strict=True)])
    too_large = 1.5 * 1.4 ** inputs[:, 1]
    return torch.from_numpy(logits * too_large[:, None]).softmax(1), torch.from_numpy(truth), inputs, too_large


def test_the_fitted_temperatures_are_those_of_the_data() -> None:
    probabilities, truth, inputs, too_large = overconfident(20_000)
    fitted = fit_calibration(probabilities, truth, inputs, 48)
    assert fitted.constant == pytest.approx(np.log(1.5), abs=0.06)
    assert fitted.size == pytest.approx(np.log(1.4), abs=0.03)
    assert abs(fitted.noise) < 0.02
    assert fitted.temperature(12, {}) == pytest.approx(1.5 * 1.4**2, rel=0.1)
    assert fitted.temperature(200, {}) == fitted.temperature(48, {})
    raw = probabilities.numpy()
    scaled = np.stack([calibrated(row, value) for row, value in zip(raw, too_large, strict=True)])
    assert (scaled.argmax(axis=1) == raw.argmax(axis=1)).all()
    assert calibration_scores(raw, truth.numpy()).ece > 0.15
    assert calibration_scores(scaled, truth.numpy()).ece < 0.02


def test_temperatures_stay_within_limits_and_probabilities_sum_to_one() -> None:
    steep = Calibration(side=48, constant=9.0, blur=-100)
    assert steep.temperature(48, {}) == 8.0
    assert steep.temperature(48, {"blur": 1.0}) == 0.25
    for temperature in (0.25, 1.0, 8.0):
        found = calibrated(np.array([1.0, 0.0, 0.0], np.float32), temperature)
        assert found.sum() == pytest.approx(1)
        assert found.argmax() == 0
    np.testing.assert_allclose(calibrated(np.array([0.5, 0.3, 0.2], np.float32), 1.0), [0.5, 0.3, 0.2], rtol=1e-6)


def test_the_card_keeps_the_calibration() -> None:
    calibration = Calibration(side=48, constant=0.1, size=0.2)
    card = ModelCard.model_validate(
        {
            "name": "x",
            "network": {},
            "clip": {"length": 1, "channels": 1, "height": 48, "width": 48},
            "targets": [],
            "calibration": {"emotion": calibration},
        }
    )
    assert ModelCard.model_validate_json(card.to_json()).calibration["emotion"] == calibration
