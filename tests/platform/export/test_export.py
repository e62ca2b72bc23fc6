"""Exported files give what their models give."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import blear
from blear.cli import cli
from blear.contracts import ClipSpec, Target
from blear.errors import RunError
from blear.export.check import require_equal
from blear.export.check_data import seeded_pictures
from blear.export.compare import compare, largest_difference
from blear.export.degraded import DegradedSamples
from blear.export.graph import write_graph
from blear.export.trace import trace_model
from blear.job.reader import read_job
from blear.models.card import ModelCard
from blear.models.conditions import parse_conditions
from blear.models.exported_program import ExportedProgramModel
from blear.models.for_prediction import open_graph
from blear.models.model import Model
from blear.models.onnx import OnnxModel
from blear.models.traceable import TraceableModel
from blear.pipeline.prepare import prepare_data
from blear.plugin.discovery import load_plugins
from blear.train.macs import count_macs

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EMOTION, VALENCE = Target("emotion", "class", CLASSES), Target("valence", "value", bounds=(-1, 1))
CONDITIONS = "sweep: {use: downscale, over: {factor: [2]}}\n"
STILL = {
    "augment": [{"use": "random_crop", "size": 20}],
    "backbone": {"use": "robust/plain_resnet", "channels": [4, 8], "blocks": [1, 0]},
    "heads": {"emotion": {"use": "fer/emotion"}, "valence": {"use": "vlqr/valence"}},
}


def make_model(network: dict, clip: ClipSpec, targets: tuple[Target, ...] = (EMOTION,), **facts: object) -> Model:
    """A network with random weights."""
    torch.manual_seed(0)
    return Model(ModelCard(name="random", network=network, clip=clip, targets=targets, **facts))


@pytest.fixture
def still(tmp_path: Path) -> tuple[Model, Path]:
    """A model of a crop of 24 x 24 colour pictures with two targets and a temperature, and its folder."""
    facts = {"temperatures": {"emotion": 0.05}, "framing": {"margin": 0.2}}
    model = make_model(STILL, ClipSpec(1, 3, 24, 24), (EMOTION, VALENCE), **facts)
    return model, model.save(tmp_path / "still")


def export(*arguments: object) -> str:
    done = CliRunner().invoke(cli, ["export", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_graph_refers_to_the_weights_of_its_folder(still, tmp_path: Path) -> None:
    model, _ = still
    folder = model.save(tmp_path / "model", half=True)
    graph = write_graph(folder)
    stored = onnx.load(graph, load_external_data=False).graph.initializer
    external = [one for one in stored if one.data_location == onnx.TensorProto.EXTERNAL]
    assert len(external) > 8
    assert all(np.prod(one.dims) < 10 for one in stored if one not in external and "weight" in one.name)
    read, expected = open_graph(str(folder)), blear.load(folder)
    assert read.card == expected.card
    faces = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    for target, values in expected(faces).items():
        np.testing.assert_allclose(read.predict_arrays(faces)[target], values.numpy(), atol=1e-5)
    text = graph.read_bytes()
    assert str(tmp_path).encode() not in text
    assert b"site-packages" not in text


def test_a_folder_is_exported_with_its_graph(still, tmp_path: Path) -> None:
    _, folder = still
    text = export(folder, "--to", "safetensors", "--graph", "--out", tmp_path / "out")
    assert "largest difference: " in text
    assert open_graph(str(tmp_path / "out")) is not None
    with pytest.raises(RunError, match="the graph belongs to a model folder"):
        export(folder, "--graph")


def contents(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def test_an_export_does_not_overwrite_its_model(still, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = still
    (tmp_path / "link").symlink_to(folder)
    before = contents(folder)
    monkeypatch.chdir(tmp_path)  # the default output has the name of the model, which is that of its folder
    for out in ([], ["--out", folder], ["--out", "link"], ["--out", "./still/../still"]):
        with pytest.raises(RunError, match="is the model that is exported"):
            export(folder, "--to", "safetensors", "--target", "emotion", *out)
    for given in (folder, folder / "model.safetensors"):
        with pytest.raises(RunError, match="is the model that is exported"):
            export(given, "--out", folder / "model.safetensors")
    assert contents(folder) == before
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage" / "stage.json").write_text("{}")
    with pytest.raises(RunError, match="is the folder of a run or of a stage"):
        export(folder, "--to", "safetensors", "--out", "stage")


def test_an_older_folder_stays_where_the_comparison_fails(still, tmp_path: Path) -> None:
    """The weights have values that are no numbers, so that no file equals the model."""
    model, _ = still
    older = model.save(tmp_path / "out", half=True)
    write_graph(older)
    (older / "notes.txt").write_text("of the user")
    before = contents(older)
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("nan"))
    broken = model.save(tmp_path / "broken")
    with pytest.raises(RunError, match="differs from the model by nan"):
        export(broken, "--to", "safetensors", "--out", older)
    assert contents(older) == before
    export(tmp_path / "still", "--to", "safetensors", "--out", older)
    assert set(contents(older)) == {
        "card.json",
        "card.md",
        "model.safetensors",
        "notes.txt",
    }  # the graph is out of date
    assert blear.load(older).card.name == "still"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("format_", "suffix"), [("onnx", ".onnx"), ("torch-export", ".pt2")])
def test_files_give_the_outputs_of_the_model(still, tmp_path: Path, format_: str, suffix: str) -> None:
    model, folder = still
    (tmp_path / "sweep.yaml").write_text(CONDITIONS)
    out = tmp_path / "made" / f"net{suffix}"
    text = export(folder, "--to", format_, "--out", out, "--conditions", tmp_path / "sweep.yaml")
    assert "compared on 64 samples (64 pictures of noise)" in text
    assert "| downscale 2 |" in text
    assert "largest difference: " in text
    assert (
        f"{out.stat().st_size / 1e6:.2f} MB, {count_macs(model, torch.zeros(1, 3, 24, 24)) / 1e6:.1f} million" in text
    )
    assert list(out.parent.iterdir()) == [out]
    read = OnnxModel(out) if suffix == ".onnx" else ExportedProgramModel(out)
    if isinstance(read, OnnxModel):
        check_metadata(out, read, model)
    faces = torch.rand(70, 1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    for count in (1, 3, 70):
        expected, found = model(faces[:count]), read(faces[:count])
        assert list(found) == ["emotion", "valence"]
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value.detach(), atol=2e-6, rtol=2e-5)
    assert expected["emotion"].std(dim=1).mean() > 0.01  # the temperature made the probabilities differ
    with pytest.raises(RunError, match="carries its labels and preprocessing itself"):
        type(read)(out, {"labels": "a,b"})


def check_metadata(file: Path, read: OnnxModel, model: Model) -> None:
    """Card and facts are in the file, places of this machine are not."""
    assert b"platform/blear" not in file.read_bytes()
    graph = onnx.load(file)
    onnx.checker.check_model(graph)
    properties = {one.key: one.value for one in graph.metadata_props}
    assert properties["blear.labels"] == ",".join(CLASSES)
    assert json.loads(properties["blear.framing"]) == {"margin": 0.2}
    axes = graph.graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", 3, 24, 24]
    assert read.labels == model.labels
    assert read.framing == model.framing
    assert read.card.training == model.card.training


def test_heads_of_other_targets_are_left_out(still, tmp_path: Path) -> None:
    model, folder = still
    export(folder, "--target", "emotion", "--out", tmp_path / "one.onnx")
    one, pictures = OnnxModel(tmp_path / "one.onnx"), seeded_pictures(model.card.clip, 4).frames_NTHWC[:, 0]
    assert list(one(pictures)) == ["emotion"]
    torch.testing.assert_close(one(pictures)["emotion"], model(pictures)["emotion"], atol=1e-5, rtol=1e-4)
    refused = CliRunner().invoke(cli, ["export", str(folder), "--target", "age"])
    assert isinstance(refused.exception, RunError)
    assert refused.exception.what == "targets age: the model has emotion, valence"


def test_networks_of_single_frames_take_any_number_of_frames(tmp_path: Path) -> None:
    network = {"backbone": STILL["backbone"], "head": {"use": "fer/emotion"}}
    model = make_model(network, ClipSpec(4, 1, 16, 16))
    (tmp_path / "sweep.yaml").write_text(CONDITIONS)
    folder, out = model.save(tmp_path / "clips"), tmp_path / "clips.onnx"
    text = export(folder, "--out", out, "--conditions", tmp_path / "sweep.yaml")
    assert "input `clips`: any batch, any number of frames" in text
    assert OnnxModel(out).card.clip == model.card.clip
    frames = torch.rand(2, 7, 1, 16, 16)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (found,) = session.run(["emotion"], {"clips": frames.numpy()})
    (expected,) = TraceableModel(model)(frames)
    torch.testing.assert_close(torch.from_numpy(found), expected.detach(), atol=1e-6, rtol=1e-5)


def test_recurrent_networks_keep_their_number_of_frames() -> None:
    network = {"backbone": STILL["backbone"], "head": {"use": "fer/sequence", "hidden": 6}}
    traced = trace_model(make_model(network, ClipSpec(3, 1, 16, 16)))
    assert traced.axes == "any batch, 3 frames"
    clips = torch.rand(5, 3, 1, 16, 16)
    torch.testing.assert_close(traced.program.module()(clips)[0], traced.module(clips)[0])


JOB = """
name: small
data:
  faces: {use: faces/procedural, size: 24, targets: [emotion], per_subject: 3, subjects: {train: 3, dev: 3}}
stages:
  only:
    data: faces
    backbone: {use: robust/plain_resnet, channels: [4, 8], blocks: [1, 0]}
    head: {use: fer/emotion}
    optimizer: {use: sgd, lr: 0.01}
    batch_size: 4
    steps: 1
evaluate:
  split: dev
  sweep: {use: blur, over: {sigma: [1.5]}}
  arms: {only: {stage: only}}
  resamples: 20
  faces: 0
"""


def test_runs_are_compared_on_their_own_data_and_conditions(
    tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    prepare_data(read_job(tmp_path / "job.yaml")[0], load_plugins(), workers=1)
    run = blear.run(tmp_path / "job.yaml")
    monkeypatch.chdir(tmp_path)
    text = export(run.folder, "--to", "safetensors")
    assert "compared on 9 samples (faces/procedural, split dev), conditions of the job" in text
    clean, blurred = (
        line.split("|") for line in text.splitlines() if line.startswith(("| clean", "| corruptions/blur"))
    )
    truth = run.predictions.query("severity == 1.5")
    assert float(blurred[3]) == pytest.approx(100 * (truth.truth == truth.prediction).mean(), abs=0.05)
    assert float(clean[2]) == float(blurred[2]) == 0
    assert blear.load(tmp_path / "small-only").card.training.run == "small"
    assert blear.load(tmp_path / "small-only" / "model.safetensors").labels == run.model().labels


def fer2013(file: Path, pictures: np.ndarray, labels: np.ndarray) -> Path:
    """Writes a fer2013.csv whose splits train and dev hold the same pictures."""
    lines = ["emotion,pixels,Usage"]
    for usage in ("Training", "PublicTest"):
        for picture, label in zip(pictures, labels, strict=True):
            lines.append(f"{label},{' '.join(map(str, picture.ravel()))},{usage}")
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize("certain", [True, False])
def test_int8_is_kept_only_if_the_curve_holds(tmp_path: Path, certain: bool) -> None:
    """Labels are the model's own decisions: for pictures far from its boundaries, or for those nearest to them."""
    network = {"backbone": STILL["backbone"], "head": {"use": "fer/emotion"}}
    model = make_model(network, ClipSpec(1, 1, 48, 48))
    pictures = seeded_pictures(ClipSpec(1, 1, 48, 48), 600).frames_NTHWC[:, 0]
    with torch.no_grad():  # decisions that vary from picture to picture
        logits = model(pictures)["emotion"].log()
        model.network.head.linear.bias -= logits.mean(dim=0)
    best = model(pictures)["emotion"].detach().log().topk(2, dim=1).values
    order = (best[:, 0] - best[:, 1]).argsort(descending=certain)[:100].numpy()
    labels = model(pictures)["emotion"].detach().argmax(1).numpy()
    source = fer2013(tmp_path / "fer2013.csv", pictures[order], labels[order])
    (tmp_path / "sweep.yaml").write_text("clean: true\nsweep: {use: brightness, over: {severity: [1]}}\n")
    folder, out = model.save(tmp_path / "net"), tmp_path / "net8.onnx"
    arguments = ["--data", source, "--dataset", "fer/fer2013", "--split", "dev", "--out", out]
    arguments += ["--conditions", tmp_path / "sweep.yaml", "--int8"]
    if not certain:
        with pytest.raises(RunError, match=r"8 bits lose more than half a point: Entropy .* points at"):
            export(folder, *arguments)
        assert not list(tmp_path.glob("*.onnx"))
        return
    text = export(folder, *arguments)
    assert "8 bits, ranges of activations by" in text
    read = OnnxModel(out)
    assert read.labels == model.labels
    assert (read(pictures[order])["emotion"].argmax(1).numpy() == labels[order]).mean() >= 0.995
    kinds = {node.op_type for node in onnx.load(out).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_int8_needs_labels(still) -> None:
    with pytest.raises(Exception, match="8-bit weights need the accuracy on labelled samples"):
        export(still[1], "--int8")
    with pytest.raises(RunError, match="8-bit weights are written as ONNX only"):
        export(still[1], "--int8", "--to", "torch-export")


def test_a_file_that_differs_is_found(still) -> None:
    model, _ = still
    samples = DegradedSamples(
        seeded_pictures(model.card.clip, 20), parse_conditions(CONDITIONS, "here"), load_plugins()
    )

    def shifted(frames: torch.Tensor) -> dict[str, torch.Tensor]:
        found = {name: value.detach() for name, value in model(frames).items()}
        return found | {"valence": found["valence"] + 0.25}

    with torch.no_grad():
        found = compare(model, {"equal": model, "shifted": shifted}, samples)
    assert [one.largest for one in found["equal"]] == [0, 0]
    assert [one.name for one in found["shifted"]] == ["clean", "downscale 2"]
    assert found["shifted"][0].largest == pytest.approx(0.25, abs=1e-5)
    with pytest.raises(RunError, match=r"differs from the model by 2\.5e-01"):
        require_equal(found["shifted"], Path("net.onnx"))
    assert largest_difference({"a": torch.tensor([100.0])}, {"a": torch.tensor([101.0])}) == pytest.approx(0.01)


@pytest.mark.parametrize("broken", [0, 1])
def test_a_file_that_returns_no_numbers_differs(still, broken: int) -> None:
    """The first or the last target is not a number for one sample, which is in the last chunk of the last level."""
    model, _ = still
    samples = DegradedSamples(seeded_pictures(model.card.clip, 3), parse_conditions(CONDITIONS, "here"), load_plugins())

    def without_numbers(frames: torch.Tensor) -> dict[str, torch.Tensor]:
        found = {name: value.detach().clone() for name, value in model(frames).items()}
        found[list(found)[broken]][-1] = float("nan")
        return found

    found = compare(model, {"file": without_numbers}, samples)["file"]
    assert all(np.isnan(one.largest) for one in found)
    with pytest.raises(RunError, match="differs from the model by nan at clean"):
        require_equal(found, Path("net.onnx"))
    found = [replace(found[0], largest=0.0), found[1]]
    with pytest.raises(RunError, match="differs from the model by nan at downscale 2"):
        require_equal(found, Path("net.onnx"))


def test_multiply_accumulates_equal_the_formula() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(400, 5))
    assert count_macs(network, torch.zeros(1, 3, 10, 10)) == 100 * 3 * 9 * 4 + 400 * 5
    lstm = torch.nn.LSTM(8, 6, batch_first=True)
    assert count_macs(lstm, torch.zeros(1, 7, 8)) == 7 * 4 * 6 * (8 + 6)
