"""The entries of docs/weights.md, section "Published starts", with files in the authors' formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import published_files as files
import weight_file_bytes
from blear.contracts import BuildContext, ClipSpec, Target
from blear.job.reader import read_job
from blear.storage.run_folder import RunFolder
from blear.train.load_stage import require_loaded
from blear.train.model import build_recognizer
from blear.train.transfer import load_stage_weights
from blear.weights.read import read_weights
from blear_emotions.labels import AFEW

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"
SECTION = PAGE.read_text().partition("## Published starts")[2].partition("\n## ")[0]
ENTRIES = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
BLOCKS = {2: "a b c", 3: "a b c d", 4: "a b c d e f", 5: "a b c"}
WIDTH = 1 / 32


def split(blocks: Mapping[int, str]) -> dict[int, list[str]]:
    return {group: names.split() for group, names in blocks.items()}


def torch_file(write: Callable, tensors: files.Tensors) -> Callable[[Path], None]:
    return lambda path: write(path, tensors)


def caffe_file(layers: files.Layers, write: Callable = weight_file_bytes.caffemodel) -> Callable[[Path], None]:
    return lambda path: write(path, layers)


def densenet_torchvision(path: Path) -> None:
    """torchvision's file: its older names, denselayer1.norm.1 in place of denselayer1.norm1."""
    from torchvision.models import DenseNet

    state = DenseNet(2, (6, 12, 24, 16), 4, num_classes=5).state_dict()
    torch.save({re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", k): v for k, v in state.items()}, path)


FILES: dict[str, Callable[[Path], None]] = {
    "VGG_FACE.caffemodel": caffe_file(files.caffe_layers(files.vgg_face_caffe(WIDTH)), weight_file_bytes.v1_caffemodel),
    "VGG_Face_torch.pth": torch_file(weight_file_bytes.torch_0_3, files.vgg_face_converted(WIDTH)),
    "best7164.model": torch_file(weight_file_bytes.torch_0_3, files.best7164(WIDTH)),
    "best_resnet.model": torch_file(weight_file_bytes.torch_0_3, files.face_resnet(WIDTH)),
    "VGG_GRU/weight/model_119.pkl": torch_file(weight_file_bytes.torch_0_3, files.vgg_gru(WIDTH)),
    "Resnet_GRU/weight/model_119.pkl": torch_file(weight_file_bytes.torch_0_3, files.resnet_gru(WIDTH, side=512)),
    "dsn_vgg_iter_30000.caffemodel": caffe_file(files.caffe_layers(files.dsn_vgg(WIDTH, 32))),
    "ResNet-50-model.caffemodel": caffe_file(files.resnet_caffe(WIDTH, split(BLOCKS), bias=True)),
    "ResNet-101-model.caffemodel": caffe_file(files.resnet_caffe(WIDTH, files.DEEP, bias=False)),
    "DenseNet_121.caffemodel": caffe_file(files.densenet_caffe(1 / 16)),
    "densenet121-a639ec97.pth": densenet_torchvision,
    "vgg_iter_20000.caffemodel": caffe_file(files.caffe_layers(files.vgg_face_caffe(WIDTH, "fc8_vgg", 7))),
    "HQ.caffemodel": caffe_file(files.caffe_layers(files.vlqr_recogniser(WIDTH))),
    "SR.caffemodel": caffe_file(files.caffe_layers(files.vlqr_restoration(WIDTH))),
    "chkpt_110000.tar": torch_file(weight_file_bytes.torch_1_3, files.vtt_resnet18(WIDTH)),
}

LEFT = {
    ("vgg_face", "VGG_FACE.caffemodel"): {"fc8"},
    ("vgg_face", "VGG_Face_torch.pth"): {"38.1"},
    ("vgg_face", "best7164.model"): {"pre_model.35.1", "classifier"},
    ("face_resnet", "best_resnet.model"): {"fc8_final"},
    ("vgg", "VGG_FACE.caffemodel"): {"fc6", "fc7", "fc8"},
    ("resnet50", "ResNet-50-model.caffemodel"): {"fc1000"},
    ("resnet50", "ResNet-101-model.caffemodel"): {"fc1000"},
    ("densenet121", "DenseNet_121.caffemodel"): {"fc6"},
    ("densenet121", "densenet121-a639ec97.pth"): {"classifier"},
    ("cnn5x5", "SR.caffemodel"): {"conv4"},
}
"""(backbone, file) -> layers that a start leaves in the file. A whole model takes everything but fixed kernels."""


def entry_of(text: str) -> tuple[str, str, bool]:
    """(name of the backbone, file, whether the whole model is loaded)."""
    stage = yaml.safe_load(text)
    source = stage.get("start_from") or stage["backbone"]["start_from"]
    return stage["backbone"]["use"].split("/")[1], source["file"], "start_from" in stage


def test_every_file_has_an_entry() -> None:
    assert {file for _, file, _ in map(entry_of, ENTRIES)} == set(FILES)
    assert {(name, file) for name, file, whole in map(entry_of, ENTRIES) if not whole} == set(LEFT)


@pytest.mark.parametrize("text", ENTRIES, ids=lambda text: "-".join(map(str, entry_of(text))))
def test_a_published_start_takes_its_file(text: str, tmp_path: Path) -> None:
    backbone, name, whole = entry_of(text)
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    FILES[name](file)
    grey, size = (True, 48) if backbone == "cnn5x5" else (False, 48 if backbone == "face_resnet" else 32)
    color, target = ("luma", "valence") if grey else ("rgb", "emotion")
    data = f"data: {{faces: {{use: faces/procedural, size: {size}, color: {color}, targets: [{target}]}}}}"
    train = "" if whole else "    optimizer: {lr: 0.1}\n    steps: 1\n"
    (tmp_path / "job.yaml").write_text(
        f"name: starts\n{data}\nstages:\n  given:\n    data: faces\n{train}" + re.sub("^", "    ", text, flags=re.M)
    )
    width = 1 / 16 if backbone == "densenet121" else WIDTH
    changed = [f"stages.given.backbone.width={width}"]
    if "size" in yaml.safe_load(text)["backbone"]:
        changed.append(
            f"stages.given.backbone.size={[size, size] if backbone in ('vgg_face', 'face_resnet') else size}"
        )
    if "side_outputs" in text:
        changed.append(f"stages.given.head.width={WIDTH}")
    job, catalog = read_job(tmp_path / "job.yaml", overrides=changed)
    stage = job.stages["given"]
    emotion, valence = Target("emotion", "class", AFEW.names), Target("valence", "value")
    clip = ClipSpec(1, 1 if grey else 3, size, size)
    context = BuildContext(clip=clip, targets={"emotion": emotion, "valence": valence})
    model = build_recognizer(catalog, stage, "given", context)
    ((part, report),) = load_stage_weights(model, stage, RunFolder(tmp_path)).items()
    assert report is not None
    tensors = read_weights(file)
    taken = {report.renamed.get(new, new) for new in report.taken}
    left = {tensor.rpartition(".")[0] for tensor in tensors if tensor not in taken}
    allowed = set() if whole else LEFT[backbone, name]
    assert {layer for layer in left if not layer.startswith("upsample")} == allowed
    assert not report.reshaped
    if whole:
        require_loaded(model, {part: report}, "given")
    else:
        own = [key for key, reason in report.skipped.items() if reason.startswith("initialised")]
        layers = {key.rpartition(".")[0] for key in own if not key.endswith("num_batches_tracked")}
        assert layers == ({"fc4"} if name == "SR.caffemodel" else set())
    values = dict(model.state_dict() if whole else model.backbone.state_dict())
    straight = [new for new in report.taken if new not in report.reordered]
    assert all(np.array_equal(values[new], tensors[report.renamed.get(new, new)]) for new in straight)
