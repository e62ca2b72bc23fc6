"""The second shipped model, trained on drawn faces only: its targets, its card, and that it is never used unasked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import blear
from blear.cli import cli
from blear.errors import RunError
from blear.models import shipped
from blear.models.shipped import default_model, find_model

CONDITIONS = {"clean", "16 px", "JPEG q10", "blur 1.5", "noise 25"}


def test_it_answers_three_targets_for_grey_and_colour_pictures() -> None:
    model = blear.load("procedural-faces")
    assert model.labels == blear.load("robust-faces").labels
    assert (find_model("procedural-faces").folder / "model.safetensors").stat().st_size <= 6e6
    grey = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    found = model(grey)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "emotion": (3, 7),
        "valence": (3,),
        "arousal": (3,),
    }
    torch.testing.assert_close(found["emotion"].sum(dim=1), torch.ones(3))
    colour = model(np.repeat(grey[..., None], 3, axis=-1))
    for name, value in found.items():
        torch.testing.assert_close(colour[name], value)


def test_it_knows_drawn_faces_of_other_identities_and_its_card_has_results_of_both_kinds_of_faces() -> None:
    model = blear.load("procedural-faces")
    rows = {
        (row["data"], row["condition"], row.get("target"), row["metric"]): row["value"]
        for row in model.card.metrics
        if "class" not in row
    }
    assert {(name, target, metric) for _, name, target, metric in rows} >= {
        (name, target, metric)
        for name in CONDITIONS
        for target, metric in (("emotion", "accuracy"), ("valence", "ccc"), ("arousal", "ccc"))
    }
    assert {name for data, name, _, metric in rows if (data, metric) == ("FER2013", "accuracy")} >= CONDITIONS
    assert rows["drawn", "clean", "emotion", "accuracy"] > 0.6 > rows["FER2013", "clean", None, "accuracy"]


def test_the_card_names_a_job_whose_digest_anyone_can_print(repository: Path) -> None:
    training = find_model("procedural-faces").card.training
    file, *options = training.job.split()
    arguments = ["check", str(repository / file), *options, "--digest"]
    assert CliRunner().invoke(cli, arguments).output.strip() == training.job_sha256
    assert training.data == "faces/procedural"


def test_a_model_without_default_is_used_only_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_model().short_name == "robust-faces"
    assert not find_model("procedural-faces").card.default
    first = find_model("procedural-faces")
    pair = [first, replace(first, name="robust/other")]
    monkeypatch.setattr(shipped, "shipped_models", lambda: pair)
    with pytest.raises(RunError, match=r"(?s)no model is named.*shipped: robust/procedural-faces, robust/other"):
        default_model()
    monkeypatch.setattr(shipped, "shipped_models", lambda: pair[:1])
    assert default_model() == first
