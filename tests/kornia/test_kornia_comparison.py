"""The comparison of our operations with kornia's functions in docs/degradations.md."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

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
