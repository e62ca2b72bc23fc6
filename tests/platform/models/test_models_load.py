"""`blear.run`, `blear.open` and `blear.load` on a run of a few training steps; files of models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import blear
from blear.errors import RunError
from blear.job.reader import read_job
from blear.job.schema import StartFrom
from blear.job.training_digest import training_digest
from blear.models.device import chosen_device
from blear.models.from_run import stage_card
from blear.models.open_model import open_model
from blear.storage.run_folder import RunFolder


def test_a_run_has_its_job_summary_predictions_and_report(run: blear.Run) -> None:
    assert run.stages == ("values", "classes")
    assert run.job.stages["classes"].steps == 1
    assert run.summary.target == "emotion"
    table = run.predictions
    assert len(table) == 2 * 12
    assert table.attrs["classes"] == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    clean = table[table.severity == 1]
    value = run.summary.estimate("only", "corruptions/downscale", 1, "accuracy")
    assert value is not None
    assert (clean.truth == clean.prediction).mean() == pytest.approx(value.value)
    assert run.report.read_text().startswith("<!DOCTYPE html>")
    assert blear.open(str(run.folder)).summary == run.summary


def test_a_card_lists_the_augmentations_that_change_the_size(run: blear.Run) -> None:
    """Those of training are not built when the model is loaded; of the shipped model, they need kornia."""
    assert run.model("classes").card.network["augment"] == [{"use": "corruptions/random_crop", "size": 40}]
    assert "augment" not in run.model("values").card.network
    absent = ("kornia", "scipy", "torchvision", "matplotlib", "pandas", "pyarrow", "ray", "onnxruntime")
    code = "import sys, blear.predict.options, blear; blear.load('robust-faces')\n"
    code += f"print([name for name in {absent} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_a_card_names_no_file_of_initial_weights(run: blear.Run) -> None:
    stage = run.job.stages["classes"]
    file = StartFrom(file="mine/head.safetensors")
    head, backbone = (part.model_copy(update={"start_from": file}) for part in (stage.head, stage.backbone))
    stages = {**run.job.stages, "classes": stage.model_copy(update={"head": head, "backbone": backbone})}
    card = stage_card(RunFolder(run.folder), run.job.model_copy(update={"stages": stages}), "classes")
    assert "start_from" not in json.dumps(card.network)


def test_a_model_predicts_what_the_evaluation_predicted(run: blear.Run, faces: np.ndarray) -> None:
    model = run.model("classes")
    result = model(faces)
    assert set(result) == {"emotion"}
    assert model.labels == {"emotion": run.predictions.attrs["classes"]}
    table = run.predictions
    expected = np.stack(table[table.severity == 1].probabilities.to_list())
    np.testing.assert_allclose(result["emotion"].numpy(), expected, atol=2e-6)
    assert not model.training


def test_every_form_of_a_picture_gives_the_same(run: blear.Run, faces: np.ndarray) -> None:
    model = run.model()
    expected = model(faces)["emotion"]
    tensor = torch.from_numpy(faces).permute(0, 3, 1, 2)
    for images in (
        list(faces),
        [Image.fromarray(face) for face in faces],
        tensor,
        tensor / 255,
        faces / np.float32(255),
    ):
        torch.testing.assert_close(model(images)["emotion"].detach(), expected, atol=1e-6, rtol=0)
    assert model(Image.fromarray(faces[0]))["emotion"].shape == (1, 7)
    assert model(faces[:0])["emotion"].shape == (0, 7)


def test_other_sizes_and_colours_are_converted(run: blear.Run, faces: np.ndarray, tmp_path: Path) -> None:
    model = run.model()
    grey = cv2.cvtColor(faces[0], cv2.COLOR_RGB2GRAY)
    large = np.random.default_rng(0).integers(0, 256, (100, 90, 3), np.uint8)
    Image.fromarray(large).save(tmp_path / "face.png")
    small = cv2.resize(large, (48, 48), interpolation=cv2.INTER_AREA)
    expected = model(np.stack([np.repeat(grey[..., None], 3, axis=2), small]))["emotion"]
    assert torch.equal(model([grey, large])["emotion"], expected)
    assert torch.equal(model([tmp_path / "face.png"])["emotion"], model(large[None])["emotion"])
    torch.testing.assert_close(model(grey[None])["emotion"], expected[:1])


def test_gradients_pass_through_tensors(run: blear.Run, faces: np.ndarray) -> None:
    frames = (torch.from_numpy(faces[:2]).permute(0, 3, 1, 2) / 255).requires_grad_()
    run.model()(frames)["emotion"][:, 0].sum().backward()
    assert frames.grad is not None
    assert float(frames.grad.abs().sum()) > 0


def test_a_model_without_one_of_its_heads(run: blear.Run, faces: np.ndarray, tmp_path: Path) -> None:
    both = run.model("values")
    one = both.select_targets("emotion")
    assert list(one(faces)) == ["emotion"]
    assert torch.equal(one(faces)["emotion"], both(faces)["emotion"])
    assert (list(one.labels), list(one.targets)) == (["emotion"], ["emotion"])
    assert one.card.network["head"] == {"use": "fer/emotion"}
    assert one.card.parameters < both.card.parameters
    stored = blear.load(one.save(tmp_path / "one"))
    assert torch.equal(stored(faces)["emotion"], both(faces)["emotion"])
    assert {name.partition(".")[0] for name in stored.network.state_dict()} == {"backbone", "head"}
    assert "head.linear.weight" in stored.network.state_dict()
    assert both.select_targets("valence", "emotion") is both
    assert run.model("classes").select_targets("emotion").targets.keys() == {"emotion", "valence"}
    for model, names in ((both, ()), (both, ("age",)), (run.model("classes"), ("valence",))):
        with pytest.raises(ValueError, match="the model has emotion"):
            model.select_targets(*names)


def test_a_model_with_two_heads_gives_both_targets(run: blear.Run, faces: np.ndarray, tmp_path: Path) -> None:
    model = run.model("values")
    result = model(faces)
    assert (result["valence"].shape, result["emotion"].shape) == ((12,), (12, 7))
    assert set(model.labels) == {"emotion"}
    assert model.targets["valence"].bounds == (-1.0, 1.0)
    loaded = blear.load(model.save(tmp_path / "two"))(faces)
    assert all(torch.equal(loaded[target], result[target]) for target in result)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((48, 48), np.uint8), r"give images\[None\]"),
        (np.zeros((48, 48, 3), np.uint8), r"give images\[None\]"),
        (np.zeros((1, 48, 48), np.int64), "int64"),
        (np.full((1, 48, 48), 255.0, np.float32), "divide 0..255 by 255"),
        (torch.full((1, 3, 48, 48), -1.0), r"these in \[-1, -1\]"),
        (np.full((1, 48, 48), np.nan, np.float32), r"these in \[nan, nan\]"),
        (torch.zeros(1, 5, 48, 48), r"\[1, 5, 48, 48\]"),
        ([np.zeros((48, 48, 4), np.uint8)], r"\[48, 48, 4\]"),
        ([1.0], "float is no picture"),
    ],
)
def test_other_things_are_refused(run: blear.Run, images: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run.model()(images)


def test_only_runs_have_stages(run: blear.Run, tmp_path: Path) -> None:
    folder, stage = run.model("classes").save(tmp_path / "model"), run.folder / "stages" / "classes"
    assert blear.load(stage, stage="classes").labels == blear.load(run.folder, stage="classes").labels
    (tmp_path / "net.onnx").touch()
    named = ["robust-faces", folder, folder / "model.safetensors", stage, tmp_path / "net.onnx", "module:Net", "hf:m"]
    for model in named:
        with pytest.raises(RunError, match="is no run, so it has no stage 'nosuch' to choose"):
            open_model(str(model), stage="nosuch")


def test_devices_that_are_not_there_are_refused() -> None:
    assert chosen_device("cpu") == "cpu"
    for name in ("gpu", "cuda:", "cuda:x", "cpu:0", ""):
        with pytest.raises(RunError, match=f"there is no device '{name}'"):
            chosen_device(name)
    found = torch.cuda.device_count()
    assert chosen_device("auto") == ("cuda" if found else "cpu")
    with pytest.raises(RunError, match=f"has {found} GPUs" if found else "can use no GPU of this machine"):
        chosen_device(f"cuda:{found}")


def test_a_saved_model_is_the_same_model(run: blear.Run, faces: np.ndarray, tmp_path: Path) -> None:
    model = run.model()
    expected = model(faces)["emotion"]
    folder = model.save(tmp_path / "mine", summary="A test.", origin={"by": "me"})
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1  # those of the umask
    card = json.loads((folder / "card.json").read_text())
    assert (card["name"], card["summary"], card["origin"]) == ("mine", "A test.", {"by": "me"})
    assert card["labels"]["emotion"] == list(model.labels["emotion"])
    assert card["training"]["job_sha256"] == training_digest(read_job(run.folder / "job.yaml")[0])
    assert card["metrics"][0]["arm"] == "only"
    assert str(run.folder.parent.parent) not in (folder / "card.json").read_text()
    assert "angry, disgust" in (folder / "card.md").read_text()
    for place in (folder, folder / "model.safetensors", run.folder, run.folder / "stages" / "classes"):
        assert torch.equal(blear.load(place)(faces)["emotion"], expected)
    half = blear.load(model.save(tmp_path / "half", half=True))
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 0.6 * (
        folder / "model.safetensors"
    ).stat().st_size
    assert float((half(faces)["emotion"] - expected).abs().max()) < 2e-3
    warm = blear.load(model.save(tmp_path / "warm", temperatures={"emotion": 2.0}))(faces)["emotion"]
    torch.testing.assert_close(warm, expected.sqrt() / expected.sqrt().sum(1, keepdim=True))


def test_damaged_models_are_refused(run: blear.Run, tmp_path: Path) -> None:
    folder = run.model().save(tmp_path / "model")
    text = (folder / "card.json").read_text()
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-4] + b"abcd")
    with pytest.raises(RunError, match="another SHA-256"):
        blear.load(folder)
    (folder / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(RunError, match="no weights file"):
        blear.load(folder / "model.safetensors")
    (folder / "card.json").write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(RunError, match="install a newer blear"):
        blear.load(folder)
    with pytest.raises(RunError, match="no file, folder or shipped model 'robst'"):
        blear.load("robst")
    with pytest.raises(RunError, match="no stage 'other'"):
        run.model("other")
    with pytest.raises(ValueError, match="summary"):
        run.model().save(tmp_path / "wrong", summary=3)


def test_a_plugin_ships_a_model_in_its_package(
    run: blear.Run, faces: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "stranger_models"
    run.model().save(package / "models" / "tiny-faces")
    (package / "__init__.py").write_text("raise RuntimeError('not imported to find its models')")
    for name in ("first", "second"):
        info = tmp_path / "site" / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[blear]\n{name} = stranger_models\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(RunError, match="write the full name: first/tiny-faces, second/tiny-faces"):
        blear.load("tiny-faces")
    shutil.rmtree(tmp_path / "site" / "second-1.dist-info")
    for name in ("tiny-faces", "first/tiny-faces"):
        assert torch.equal(blear.load(name)(faces)["emotion"], run.model()(faces)["emotion"])
    with pytest.raises(RunError, match="did you mean 'tiny-faces'"):
        blear.load("tiny-face")
