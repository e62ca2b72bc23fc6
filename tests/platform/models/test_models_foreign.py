"""Networks of others as models: callables, files of torch.export, and files that are refused."""

from __future__ import annotations

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from blear.contracts import ClipSpec
from blear.errors import RunError
from blear.models.exported_program_check import check_exported_program
from blear.models.open_model import open_model, parse_facts

FACES = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), np.uint8)
LABELS = ("sad", "happy", "neutral")
CALLABLE = """
import numpy as np

class Means:
    metadata = {"id": "means", "index2label": {1: "green", 0: "red", 2: "blue"}, "blear.size": "24"}

    def __call__(self, batch):
        assert all(one.dtype == np.float32 and one.shape[0] == 3 for one in batch)
        return [one.mean(axis=(1, 2)) for one in batch]

def bare(batch):
    return np.stack([one.mean(axis=(1, 2)) for one in batch])

def single(batch):
    return np.zeros((1, 3))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of colour pictures with an open batch, and its weights beside it."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    file = tmp_path_factory.mktemp("pt2") / "net.pt2"
    traced = torch.export.export(
        net.eval(), (torch.zeros(2, 3, 24, 24),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(traced, file, extra_files={"blear.labels": ",".join(LABELS), "blear.range": "-1,1"})
    torch.save(net.state_dict(), file.with_suffix(".state"))
    return file


def test_a_torch_export_file_is_a_model(program: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    net.load_state_dict(torch.load(program.with_suffix(".state"), weights_only=True))
    model = open_model(str(program))
    assert model.labels == {"emotion": LABELS}
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(FACES).permute(0, 3, 1, 2) / 127.5 - 1).softmax(dim=1)
    torch.testing.assert_close(model(FACES)["emotion"], expected, atol=1e-6, rtol=1e-5)


def changed(program: Path, out: Path, name: str, content: bytes) -> Path:
    """A copy of the archive with another content of one member."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member.endswith(name) else old.read(member))
    return out


class Touch:
    """An object whose unpickling writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize(
    ("member", "old", "new", "words"),
    [
        ("models/model.json", "torch.ops.aten.flatten.using_ints", "torch.load", "operator torch.load"),
        ("models/model.json", "Symbol('s", "__import__('os').getpid('s", "expression"),
        ("model_weights_config.json", '"use_pickle": false', '"use_pickle": true', "pickled object"),
        ("model_weights_config.json", '"weight_0"', '"custom_obj_0"', "pickled object"),
    ],
)
def test_a_torch_export_file_that_could_execute_code_is_refused(
    program: Path, tmp_path: Path, member: str, old: str, new: str, words: str
) -> None:
    with zipfile.ZipFile(program) as archive:
        text = archive.read(next(n for n in archive.namelist() if n.endswith(member))).decode()
    assert old in text
    with pytest.raises(RunError, match=words):
        check_exported_program(changed(program, tmp_path / "bad.pt2", member, text.replace(old, new).encode()))


def test_sample_inputs_are_not_unpickled(program: Path, tmp_path: Path) -> None:
    content = pickle.dumps(Touch(tmp_path / "touched"))
    bad = changed(program, tmp_path / "bad.pt2", "sample_inputs/model.pt", content)
    with pytest.raises(RunError, match="pickled objects in data/sample_inputs"):
        open_model(str(bad))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("name", ["Means", "bare"])
def test_a_callable_is_a_model(tmp_path: Path, name: str) -> None:
    (tmp_path / "means.py").write_text(CALLABLE)
    facts = {} if name == "Means" else {"labels": "red,green,blue"}
    path = f"{tmp_path}/means.py:{name}"
    model = open_model(path, facts=facts | {"output": "probabilities"}, clip=ClipSpec(1, 3, 24, 24))
    assert model.card.clip == ClipSpec(1, 3, 24, 24)
    assert model.labels == {"emotion": ("red", "green", "blue")}
    expected = torch.from_numpy(FACES.mean(axis=(1, 2)) / 255).float()
    torch.testing.assert_close(model(FACES)["emotion"], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "facts", "words"),
    [
        ("means.py:bare", {"labels": "a,b,c"}, "the size of its pictures is not known"),
        ("means.py:bare", {"size": "24"}, "the callable has no labels"),
        ("means.py:nothing", {"size": "24"}, "cannot be imported: AttributeError"),
        ("means.py:single", {"size": "24", "labels": "a,b,c"}, None),
        ("no.module:thing", {"size": "24"}, "cannot be imported: ModuleNotFoundError"),
        ("net.pth", {}, "is a pickle or TorchScript file, which can execute code"),
        ("net.h5", {}, "is a file of TensorFlow"),
        ("net.pt2", {}, "there is no such file"),
    ],
)
def test_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, facts: dict, words: str | None) -> None:
    (tmp_path / "means.py").write_text(CALLABLE)
    for file in ("net.pth", "net.h5"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    if words is not None:
        with pytest.raises(RunError, match=words):
            open_model(name, facts=facts)
        return
    with pytest.raises(RunError, match="1 rows of scores for 5 pictures"):
        open_model(name, facts=facts)(FACES)


def test_facts_are_pairs() -> None:
    assert parse_facts(["range=0,255", "labels = a,b"]) == {"range": "0,255", "labels": " a,b"}
    with pytest.raises(RunError, match="expected KEY=VALUE"):
        parse_facts(["range"])


def test_without_transformers_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RunError, match="transformers is not installed"):
        open_model("hf:folder")
    with pytest.raises(RunError, match="the pipeline has its own range"):
        open_model("hf:folder", facts={"range": "0,255"})


def test_a_pipeline_of_hugging_face_is_a_model(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 4], depths=[1, 1], layer_type="basic", id2label=dict(enumerate(LABELS))
    )
    net = transformers.ResNetForImageClassification(config).eval()
    net.save_pretrained(tmp_path)
    processor = transformers.ViTImageProcessor(
        size={"height": 24, "width": 24}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    processor.save_pretrained(tmp_path)
    model = open_model(f"hf:{tmp_path}", clip=ClipSpec(1, 3, 24, 24))
    assert model.labels == {"emotion": LABELS}
    with torch.no_grad():
        pixels = (torch.from_numpy(FACES).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        expected = net(pixels).logits.softmax(dim=1)
    torch.testing.assert_close(model(FACES)["emotion"], expected, atol=1e-5, rtol=1e-4)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(RunError, match="cannot be loaded"):
        open_model(f"hf:{tmp_path}")
