"""The comparison of our operations with kornia's functions in docs/degradations.md."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from kornia.geometry.transform import crop_by_indices
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from blear.contracts import BuildContext
from blear_corruptions.geometry.params import RandomCropParams
from blear_corruptions.geometry.whole_pixels import RandomCrop

SCRIPT = Path(__file__).parents[2] / "docs" / "make_kornia_comparison.py"
spec = importlib.util.spec_from_file_location("make_kornia_comparison", SCRIPT)
script = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = script
spec.loader.exec_module(script)


@pytest.mark.parametrize("pair", script.PAIRS, ids=lambda pair: pair.ours)
def test_the_definition_is_the_same_or_another_as_the_table_says(pair):
    images = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    ours, theirs = (call() for call in pair.make(images))
    assert ours.shape == theirs.shape
    difference = (ours - theirs).abs().max().item()
    assert (difference < 1e-4) == pair.verdict.startswith("same definition")


def test_the_table_has_every_pair():
    rows = json.loads(script.FILE.read_text())
    assert list(rows) == [pair.ours for pair in script.PAIRS]
    assert all(len(row["ms"]) == 6 and row["verdict"] for row in rows.values())


def test_kornias_crop_reads_positions_on_the_host():
    """The reason for which random_crop stays: on fake CUDA tensors kornia's crop needs values, ours does not."""
    positions = {"place": torch.rand(4, 2, generator=torch.Generator().manual_seed(1))}
    ours = RandomCrop(RandomCropParams(size=8), BuildContext())
    with FakeTensorMode(allow_non_fake_inputs=True):
        frames = torch.rand(4, 1, 3, 16, 16, device="cuda")
        draws = {name: value.to("cuda") for name, value in positions.items()}
        assert ours.apply(frames, draws).shape == (4, 1, 3, 8, 8)
        with pytest.raises(DataDependentOutputException):
            crop_by_indices(frames[:, 0], torch.zeros(4, 4, 2, device="cuda"), size=(8, 8))
