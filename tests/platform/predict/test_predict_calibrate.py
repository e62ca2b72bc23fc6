"""Fitting temperatures by degradation on faces that are degraded for it."""

from __future__ import annotations

import numpy as np
import torch

from blear.predict.calibrate import CONDITIONS, calibrate


class Overconfident:
    """Classifies faces by their mean grey, and is as certain of noisy and small faces as of clean ones."""

    def __call__(self, pictures: list[np.ndarray]) -> dict[str, torch.Tensor]:
        scores = torch.tensor([(float(picture.mean()) - 128) / 8 for picture in pictures])
        return {"kind": torch.stack([-scores, scores], dim=1).softmax(dim=1)}


def test_errors_of_calibration_fall_under_every_kind_of_degradation() -> None:
    generator = np.random.default_rng(0)
    levels = generator.uniform(110, 146, 240)
    faces = np.clip(levels[:, None, None] + generator.normal(0, 20, (240, 32, 32)), 0, 255).astype(np.uint8)
    chance = 1 / (1 + np.exp(-(levels - 128) / 16))  # the classifier's logits are eight times too large
    truth = (generator.uniform(size=240) < chance).astype(np.int64)
    result = calibrate(Overconfident(), faces, truth, "kind")
    assert set(result.before) == set(result.after) == set(CONDITIONS)
    assert 2 < result.calibration.temperature(32, {"noise": 20.0}) <= 8
    assert np.mean(list(result.after.values())) < 0.6 * np.mean(list(result.before.values()))
