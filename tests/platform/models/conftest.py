"""A run of a few training steps, made through the Python API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import blear
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data
from blear.plugin.discovery import load_plugins

JOB = """
name: small
data:
  faces:
    use: faces/procedural
    size: 48
    targets: [emotion, valence]
    per_subject: 4
    subjects: {train: 4, dev: 3}
stages:
  values:
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.05}
    heads: {emotion: {use: fer/emotion}, valence: {use: vlqr/valence, weight: 2}}
    optimizer: {use: sgd, lr: 0.01}
    batch_size: 4
    steps: 1
  classes:
    data: faces
    augment: [{use: random_flip}, {use: random_crop, size: 40}, {use: random_brightness, offset: 0.1}]
    backbone: {use: vtt/resnet18, width: 0.125}
    head: {use: fer/emotion}
    optimizer: {use: sgd, lr: 0.01}
    batch_size: 8
    steps: 2
evaluate:
  split: dev
  sweep: {use: downscale, over: {factor: [1, 4]}}
  arms: {only: {stage: classes}}
  resamples: 20
  faces: 0
"""


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> blear.Run:
    root = tmp_path_factory.mktemp("models")
    (root / "job.yaml").write_text(JOB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLEAR_STORAGE", str(root))
        prepare_data(read_job(root / "job.yaml")[0], load_plugins(), workers=1)
        return blear.run(root / "job.yaml", set={"stages.classes.steps": 1})


@pytest.fixture(scope="session")
def shards(run: blear.Run) -> Path:
    """The folder of the run's shards."""
    return next((run.folder.parent.parent / "shards").rglob("dataset.json")).parent


@pytest.fixture(scope="session")
def faces(shards: Path) -> np.ndarray:
    """The stored faces of the evaluated split, uint8 [N, 48, 48, 3]."""
    store = Store.open(Prepared.open(shards), "dev")
    return store.take(np.arange(len(store))).frames[:, 0].permute(0, 2, 3, 1).numpy()
