"""The shipped model: its name, labels, size, card, and decisions on any picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner

import blear
from blear.cli import cli
from blear.models.shipped import find_model

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def test_the_model_is_loaded_by_its_name_with_labels_and_card() -> None:
    model = blear.load("robust-faces")
    folder = find_model("robust-faces").folder
    assert model.labels == {"emotion": CLASSES}
    assert (folder / "model.safetensors").stat().st_size <= 6e6
    assert sum(p.numel() for p in model.network.parameters()) <= 3_000_000
    measured = {(row["condition"], row["metric"]): row["value"] for row in model.card.metrics if "class" not in row}
    conditions = {"clean", "16 px", "JPEG q10", "blur 1.5", "noise 25", "8 px", "19 corruptions x 5 severities"}
    assert {(name, "accuracy") for name in conditions} <= measured.keys()
    assert measured["clean", "accuracy"] > 0.6
    assert {metric for _, metric in measured} == {"accuracy", "ece", "flip_rate"}
    recalls = {row["class"] for row in model.card.metrics if row["metric"] == "recall"}
    assert recalls == set(CLASSES)


def test_the_card_names_a_job_whose_digest_anyone_can_print(repository: Path) -> None:
    training = find_model("robust-faces").card.training
    file, *options = training.job.split()
    arguments = ["check", str(repository / file), *options, "--digest"]
    assert CliRunner().invoke(cli, arguments).output.strip() == training.job_sha256


def test_the_card_states_terms_limits_and_uses() -> None:
    model, folder = blear.load("robust-faces"), find_model("robust-faces").folder
    for word in ("FER2013", "Decisions about people", "PublicTest"):
        assert word in (folder / "card.md").read_text()
    assert "FER2013" in model.card.terms


def test_pictures_in_any_form_give_probabilities() -> None:
    model = blear.load("robust-faces")
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    found = model(faces)["emotion"]
    assert found.shape == (3, 7)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3))
    assert torch.equal(model(torch.from_numpy(faces)[:, None])["emotion"], found)
    assert model([faces[0].repeat(2, 0).repeat(2, 1)])["emotion"].shape == (1, 7)
