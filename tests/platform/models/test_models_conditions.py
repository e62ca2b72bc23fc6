"""Accuracy of a model under conditions, against a computation with plain PyTorch and Pillow."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch.nn.functional import conv2d, interpolate, pad

import blear
from blear.cli import cli
from blear.contracts import Sample, Target
from blear.errors import DataError, JobError
from blear.models.conditions import Accuracy, check_conditions, markdown, read_conditions, read_split
from blear.plugin.discovery import load_plugins

CONDITIONS = """
clean: true
sweep:
  - {use: downscale, label: 16 px, over: {factor: [3]}, interpolation: area, enlarge: bilinear}
  - {use: codec/jpeg, label: JPEG q10, over: {quality: [10]}}
  - {use: blur, label: blur, over: {sigma: [1.5]}, group: {mean: both}}
  - {use: noise, label: noise, over: {sigma: [5, 25]}, group: {mean: both}}
"""


class Faces:
    """Eighty noisy pictures of seven classes, in one part."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.targets, self.splits = (Target("emotion", "class", classes),), ("test",)
        generator = np.random.default_rng(0)
        coarse = generator.integers(0, 256, (80, 6, 6, 3), dtype=np.uint8)
        self.frames = np.kron(coarse, np.ones((1, 8, 8, 1), np.uint8))
        self.labels = generator.integers(0, len(classes), 80)

    def parts(self, split: str) -> list[str]:
        return ["all"]

    def samples(self, split: str, part: str):
        for number, (picture, label) in enumerate(zip(self.frames, self.labels, strict=True)):
            yield Sample(f"{number:03}", picture[None], {"emotion": int(label)})


@pytest.fixture
def conditions(tmp_path: Path) -> Path:
    file = tmp_path / "test.yaml"
    file.write_text(CONDITIONS)
    return file


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_accuracies_equal_those_of_torch_and_pillow(run: blear.Run, conditions: Path) -> None:
    model = blear.load(run.folder, stage="classes")
    faces = Faces(model.labels["emotion"])
    data = read_split(faces, "test", model)
    rows = check_conditions(model, data, read_conditions(conditions), load_plugins())
    found = {(row.condition, row.severity): row.value for row in rows}
    x = torch.from_numpy(faces.frames).permute(0, 3, 1, 2).float() / 255
    radius = torch.arange(-6, 7).float()
    kernel = torch.exp(-(radius**2) / (2 * 1.5**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).expand(3, 1, 1, -1)
    blurred = conv2d(pad(x, (6, 6, 0, 0), mode="replicate"), kernel, groups=3)
    blurred = conv2d(pad(blurred, (0, 0, 6, 6), mode="replicate"), kernel.transpose(2, 3), groups=3)
    views = {
        ("clean", None): x,
        ("16 px", 3.0): interpolate(interpolate(x, (16, 16), mode="area"), (48, 48), mode="bilinear"),
        ("JPEG q10", 10.0): torch.from_numpy(np.stack([jpeg(p, 10) for p in faces.frames])).permute(0, 3, 1, 2) / 255,
        ("blur", 1.5): blurred,
    }
    for condition, view in views.items():
        hits = model(view)["emotion"].argmax(1).numpy() == faces.labels
        assert found[condition] == pytest.approx(hits.mean(), abs=1.01 / 80), condition  # one decision may be a tie
    assert found["both", None] == pytest.approx(np.mean([found["blur", 1.5], found["noise", 5], found["noise", 25]]))
    assert all(row.low <= row.value <= row.high and row.n == 80 for row in rows)
    clean = rows[0]
    assert clean.high - clean.low == pytest.approx(2 * 1.96 * np.sqrt(clean.value * (1 - clean.value) / 80), rel=0.2)


def test_the_table_hides_the_conditions_of_a_mean() -> None:
    rows = [
        Accuracy("a", 1.0, 0.5, 0.41, 0.6, 9),
        Accuracy("a", 2.0, 0.25, 0.2, 0.3, 9),
        Accuracy("m", None, 1, 1, 1, 9),
    ]
    assert "| a 1 | 50.0 | 41.0 to 60.0 |" in markdown(rows)
    assert "| a 2 |" not in markdown(rows, frozenset({"a"}))
    assert "| m | 100.0 |" in markdown(rows, frozenset({"a"}))


def test_data_and_conditions_that_do_not_fit_are_errors(run: blear.Run, tmp_path: Path) -> None:
    model = blear.load(run.folder, stage="classes")
    with pytest.raises(DataError, match="no split is called 'dev'"):
        read_split(Faces(model.labels["emotion"]), "dev", model)
    with pytest.raises(DataError, match="classes of 'emotion': a, b; the model: "):
        read_split(Faces(("a", "b")), "test", model)
    file = tmp_path / "wrong.yaml"
    file.write_text("sweep: {over: 1}")
    with pytest.raises(JobError, match="sweep"):
        read_conditions(file)
    with pytest.raises(JobError, match="no conditions"):
        read_conditions(tmp_path / "none.yaml")


def test_the_command_tests_a_model_folder_on_a_csv_of_fer2013(run: blear.Run, conditions: Path, tmp_path: Path) -> None:
    """The usages of the rows choose the split; the results are also written as JSON."""
    model = blear.load(run.folder, stage="classes")
    folder = model.save(tmp_path / "model")
    (folder / "test.yaml").write_text(conditions.read_text())
    lines = ["emotion,pixels,Usage"]
    for number in range(12):
        pixels = " ".join(map(str, np.random.default_rng(number).integers(0, 256, 48 * 48)))
        lines.append(f"{number % 7},{pixels},{'Training' if number < 4 else 'PrivateTest'}")
    (tmp_path / "fer2013.csv").write_text("\n".join(lines))
    arguments = ["models", "test", str(folder), str(tmp_path / "fer2013.csv"), "--dataset", "fer/fer2013"]
    outcome = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / "out.json")], catch_exceptions=False)
    rows = json.loads((tmp_path / "out.json").read_text())
    assert {row["n"] for row in rows} == {8}
    assert "| clean |" in outcome.output
    assert "| both |" in outcome.output
    assert "| blur |" not in outcome.output
