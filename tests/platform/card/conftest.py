"""Pictures of three colours in class folders, and models that name the colour of a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = ("blue", "green", "red")
SUITE = """
version: 1
summary: noise and JPEG files
seed: 3
sweep:
  - {use: noise, label: noise, over: {sigma: [40, 120]}}
  - {use: codec/jpeg, label: JPEG, over: {quality: [30, 5]}}
  - {use: codec/jpeg, label: rate, over: {quality: [80, 40, 20, 5]}, fps: 1, group: {codec: jpeg}}
"""
MODELS = """
import numpy as np

class Means:
    metadata = {"id": "means", "index2label": {0: "red", 1: "green", 2: "blue"}}

    def __call__(self, batch):
        means = np.stack([one.mean(axis=(1, 2)) for one in batch])
        return np.exp(20 * means) / np.exp(20 * means).sum(axis=1, keepdims=True)

class Corner(Means):
    def __call__(self, batch):
        return super().__call__([one[:, :2, :2] for one in batch])

class Renamed(Means):
    metadata = {"index2label": {0: "reddish", 1: "greenish", 2: "Blue", 3: "grey"}}

    def __call__(self, batch):
        return np.concatenate([super().__call__(batch), np.full((len(batch), 1), 0.5)], axis=1)

class Swapped(Means):
    metadata = {"index2label": {0: "green", 1: "blue", 2: "red"}}
"""


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: `test/COLOUR/N.png`, 12 noisy pictures of each colour with 20 x 20 pixels; suite.yaml; models.py."""
    root = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    for place, colour in enumerate(reversed(COLOURS)):
        for number in range(12):
            picture = random.normal(110, 25, (20, 20, 3))
            picture[..., place] += 14
            file = root / "pictures" / "test" / colour / f"{number:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.clip(0, 255).round().astype(np.uint8)).save(file)
    (root / "suite.yaml").write_text(SUITE)
    (root / "models.py").write_text(MODELS)
    return root
