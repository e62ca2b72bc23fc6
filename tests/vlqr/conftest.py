"""Fixtures: the tiny AVEC 2016 tree, the original and a copy to change, and the folder of real data."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from vlqr_avec_tree import FLAT_RGB, FRAMES, HEIGHT, WIDTH, add_video, drawn_frames


@pytest.fixture(scope="session")
def avec_original(tmp_path_factory):
    root = tmp_path_factory.mktemp("avec2016")
    add_video(root, "train_1", drawn_frames(1))
    add_video(root, "train_2", drawn_frames(2), jitter=0.015)
    add_video(root, "train_10", drawn_frames(3))
    flat = np.full((HEIGHT, WIDTH, 3), FLAT_RGB[::-1], np.uint8)
    add_video(root, "dev_1", [flat] * FRAMES)
    add_video(root, "test_1", drawn_frames(4), labels=False)
    return root


@pytest.fixture
def avec_copy(avec_original, tmp_path):
    """A copy of the tree that the test may change."""
    return Path(shutil.copytree(avec_original, tmp_path / "avec"))
