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
from blear.models.conditions import check_conditions, read_conditions, read_split
from blear.models.inference import for_inference
from blear.models.score_tables import ScoreTables
from blear.models.scores import Score, all_scores, from_row
from blear.plugin.discovery import load_plugins

CONDITIONS = """
clean: true
sweep:
  - {use: downscale, label: 16 px, over: {factor: [3]}, interpolation: area, enlarge: bilinear}
  - {use: codec/jpeg, label: JPEG q10, over: {quality: [10]}}
  - {use: blur, label: blur, over: {sigma: [1.5]}, group: {mean: both, family: soft}}
  - {use: noise, label: noise, over: {sigma: [5, 25]}, group: {mean: both, family: grain, flips: severity}}
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
    evaluate = read_conditions(conditions)
    results = check_conditions(model, data, evaluate, load_plugins())
    scores = all_scores(results, data.truth_N, evaluate, model.labels["emotion"])
    rows = [score for score in scores if score.metric == "accuracy"]
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
    assert found["both: grain", None] == pytest.approx(np.mean([found["noise", 5], found["noise", 25]]))
    assert found["both: soft", None] == found["both", 1.5] == found["blur", 1.5]
    assert all(row.low <= row.value <= row.high and row.n == 80 for row in rows)
    clean = rows[0]
    assert clean.high - clean.low == pytest.approx(2 * 1.96 * np.sqrt(clean.value * (1 - clean.value) / 80), rel=0.2)


def test_recall_calibration_and_flips_equal_their_definitions(run: blear.Run, conditions: Path) -> None:
    model = blear.load(run.folder, stage="classes")
    data, evaluate = read_split(Faces(model.labels["emotion"]), "test", model), read_conditions(conditions)
    results = check_conditions(model, data, evaluate, load_plugins())
    scores = all_scores(results, data.truth_N, evaluate, model.labels["emotion"])
    assert [from_row(json.loads(json.dumps(score.as_row()))) for score in scores] == scores
    found = {(s.metric, s.condition, s.severity, s.of): s.value for s in scores}
    decided = {(r.level.condition, r.level.severity): r.probabilities_NK.argmax(1) for r in results}
    clean, noisy, noisier = decided["clean", 0.0], decided["noise", 5.0], decided["noise", 25.0]
    happy = data.truth_N == model.labels["emotion"].index("happy")
    assert found["recall", "clean", None, "happy"] == pytest.approx((clean == data.truth_N)[happy].mean())
    assert found["decided", "clean", None, "sad"] == pytest.approx((clean == 4).mean())
    means = [(decided[key] == data.truth_N)[happy].mean() for key in (("blur", 1.5), ("noise", 5.0), ("noise", 25.0))]
    assert found["recall", "both", None, "happy"] == pytest.approx(np.mean(means))
    changed = np.mean([(clean != noisy).mean(), (noisy != noisier).mean()])
    assert found["flip_rate", "noise", None, None] == pytest.approx(changed)
    p = results[0].probabilities_NK
    bins = np.ceil(p.max(1) * 15)
    gaps = [abs(((clean == data.truth_N) - p.max(1))[bins == b].sum()) for b in range(1, 16)]
    assert found["ece", "clean", None, None] == pytest.approx(sum(gaps) / 80, abs=1e-6)


def test_thinned_conditions_of_a_mean_test_every_sample_once(run: blear.Run, conditions: Path) -> None:
    model = blear.load(run.folder, stage="classes")
    data, evaluate = read_split(Faces(model.labels["emotion"]), "test", model), read_conditions(conditions)
    whole = check_conditions(model, data, evaluate, load_plugins())
    thin = check_conditions(model, data, evaluate, load_plugins(), thin=2)
    assert [len(result.numbers_N) for result in thin] == [80, 80, 80, 40, 40, 40]
    assert sorted([*thin[3].numbers_N, *thin[4].numbers_N]) == list(range(80))
    for ours, all_ in zip(thin, whole, strict=True):
        np.testing.assert_allclose(ours.probabilities_NK, all_.probabilities_NK[ours.numbers_N], atol=1e-5)
    scores = all_scores(thin, data.truth_N, evaluate, model.labels["emotion"])
    assert {s.n for s in scores if s.condition == "both" and s.metric == "accuracy" and s.severity is None} == {80}


def test_folded_batch_normalisations_do_not_change_the_outputs() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3)]
    network = torch.nn.Sequential(*layers, torch.nn.GELU(), torch.nn.BatchNorm2d(2))
    for module in (network[1], network[5]):
        torch.nn.init.normal_(module.running_mean), torch.nn.init.uniform_(module.running_var, 0.5, 2)
        torch.nn.init.normal_(module.weight), torch.nn.init.normal_(module.bias)
    network.eval()
    fast, x = for_inference(network), torch.rand(3, 1, 9, 9)
    assert [type(module) for module in fast].count(torch.nn.BatchNorm2d) == 1  # one follows no convolution
    torch.testing.assert_close(fast(x), network(x))
    assert isinstance(network[1], torch.nn.BatchNorm2d)


def test_a_batch_normalisation_after_a_repeated_module_is_not_folded_into_an_earlier_convolution() -> None:
    torch.manual_seed(0)
    act, norm = torch.nn.ReLU(), torch.nn.BatchNorm2d(4)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), act, torch.nn.Conv2d(4, 4, 3), act, norm).eval()
    for values in (norm.running_mean, norm.weight, norm.bias):
        torch.nn.init.normal_(values)
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(for_inference(network)(x), network(x))


def test_the_table_hides_the_conditions_of_a_mean(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(CONDITIONS)
    evaluate = read_conditions(tmp_path / "test.yaml")
    scores = [
        Score("16 px", 3.0, 0.5, 0.41, 0.6, 9),
        Score("16 px", 6.0, 0.25, 0.2, 0.3, 9),
        Score("16 px", 3.0, 0.06, None, None, 9, "ece"),
        Score("noise", 5.0, 0.7, 0.6, 0.8, 9),
        Score("both", None, 1, 1, 1, 9),
        Score("both", 5.0, 0.8, 0.7, 0.9, 9),
        Score("both: grain", None, 0.75, 0.7, 0.9, 9),
    ]
    tables = ScoreTables(scores, evaluate)
    assert tables.accuracy().splitlines()[2:] == [
        "| 16 px 3 | 50.0 | 41.0 to 60.0 | 6.0 |",
        "| 16 px 6 | 25.0 | 20.0 to 30.0 |  |",
        "| both | 100.0 | 100.0 to 100.0 |  |",
    ]
    assert tables.parts().splitlines()[2:] == [
        "| both: severity 5 | 80.0 | 70.0 to 90.0 |",
        "| both: grain | 75.0 | 70.0 to 90.0 |",
    ]
    assert "| noise | 70.0 | 10.0 |" in tables.severities()
    assert tables.flips() == tables.classes() == ""


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
    assert {row["n"] for row in rows if row["metric"] == "accuracy"} == {8}
    assert "| clean |" in outcome.output
    assert "| both |" in outcome.output
    assert "| both: soft |" in outcome.output
    assert "| blur |" not in outcome.output
    assert "8 samples, 48 tests, " in outcome.output


def test_data_of_the_training_component_are_read_with_the_parameters_of_training(
    run: blear.Run, conditions: Path, tmp_path: Path
) -> None:
    """Without `classes` the classes would be those of the folders' names."""
    model = blear.load(run.folder, stage="classes")
    for number in range(7):
        (tmp_path / "faces" / "test" / f"f{number}").mkdir(parents=True)
        picture = np.random.default_rng(number).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / "faces" / "test" / f"f{number}" / "1.png")
    params = {"size": 48, "classes": {f"f{n}": name for n, name in enumerate(model.labels["emotion"])}}
    folder = model.save(tmp_path / "model", training={"data": "own_data/folders", "params": params})
    arguments = ["models", "test", str(folder / "model.safetensors"), str(tmp_path / "faces")]
    out = tmp_path / "new" / "out.json"
    given = ["--conditions", str(conditions), "--out", str(out)]
    CliRunner().invoke(cli, [*arguments, *given], catch_exceptions=False, standalone_mode=False)
    rows = json.loads(out.read_text())
    assert {row["n"] for row in rows if row["metric"] == "accuracy"} == {7}


def test_soft_labels_are_no_class_target(run: blear.Run) -> None:
    model = blear.load(run.folder, stage="classes")
    faces = Faces(model.labels["emotion"])
    faces.targets = (Target("emotion", "distribution", model.labels["emotion"]),)
    with pytest.raises(DataError, match="the data have the class targets none"):
        read_split(faces, "test", model)
