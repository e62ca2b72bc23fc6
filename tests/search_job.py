"""A tiny job with a search: one stage that no value changes, and one stage whose mixture is searched."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

JOB = """#!/usr/bin/env -S blear run
name: tiny
data:
  faces:
    use: faces/procedural
    size: 32
    color: luma
    targets: [emotion]
    subjects: {train: 6, dev: 3, test: 3}
    per_subject: 8
stages:
  before:
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.0625}
    head: {use: fer/emotion}
    optimizer: {use: sgd, lr: 0.01}
    batch_size: 16
    steps: 3
  joint:
    data: faces
    degrade: [{use: scale_mix, factors: {1: 1, 2: 1, 3: 1}}]
    backbone: {use: vlqr/cnn5x5, width: 0.0625, start_from: {stage: before}}
    head: {use: fer/emotion}
    optimizer: {use: sgd, lr: 0.01}
    batch_size: 16
    steps: 12
evaluate:
  split: test
  sweep: {use: downscale, over: {factor: [1, 2, 3]}}
  resamples: 50
  arms: {joint: {stage: joint}}
search:
  space:
    stages.joint.degrade.0.factors: {simplex: [1, 2, 3]}
  stage: joint
  split: dev
  trials: 3
  concurrent: 2
"""


def write_search(folder: Path, **search: object) -> Path:
    """Writes the job to a file, with additional keys in its search section."""
    yaml = YAML()
    loaded = yaml.load(JOB)
    loaded["search"] |= search
    path = folder / "job.yaml"
    with path.open("w") as file:
        yaml.dump(loaded, file)
    return path
