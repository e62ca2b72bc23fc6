"""Networks in ONNX files as models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blear.contracts import ClipSpec, Target
from blear.errors import RunError
from blear.models.card import ModelCard

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from blear.models.onnx import OnnxModel  # noqa: E402

LABELS = ("sad", "happy", "neutral")


class Net(nn.Module):
    """A convolution, a rectifier, the mean of each channel, a linear layer."""

    def __init__(self, channels: int, outputs: int = 3) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(4, outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.conv(images).relu().mean(dim=(2, 3)))


def export(net: Net, file: Path, metadata: dict[str, str], size: int | str = 24, outputs: int = 3) -> Path:
    """Writes the layers of `Net` with onnx.helper."""
    state = {name: numpy_helper.from_array(value.numpy(), name) for name, value in net.state_dict().items()}
    nodes = [
        helper.make_node("Conv", ["images", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "linear.weight", "linear.bias"], ["scores"], transB=1),
    ]
    channels = net.conv.in_channels
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", channels, size, size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", outputs])],
        list(state.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {f"blear.{key}": value for key, value in metadata.items()})
    onnx.save(model, file)
    return file


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net(3).eval().requires_grad_(False)


FACES = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), np.uint8)


@pytest.mark.parametrize(
    ("facts", "prepare"),
    [
        ({}, lambda x: x / 255),
        ({"color": "bgr", "range": "0,255"}, lambda x: x[:, [2, 1, 0]]),
        ({"range": "-1,1"}, lambda x: x / 127.5 - 1),
        (
            {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"},
            lambda x: (
                (x / 255 - torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1))
                / torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
            ),
        ),
    ],
)
@pytest.mark.parametrize("given", [False, True])
def test_probabilities_are_those_of_torch(net: Net, tmp_path: Path, facts: dict, prepare, given: bool) -> None:
    facts = {"labels": ",".join(LABELS), **facts}
    model = OnnxModel(export(net, tmp_path / "net.onnx", {} if given else facts), facts if given else None)
    expected = net(prepare(torch.from_numpy(FACES).permute(0, 3, 1, 2).float())).softmax(dim=1)
    found = model(FACES)
    assert list(found) == ["emotion"]
    assert model.labels == {"emotion": LABELS}
    torch.testing.assert_close(found["emotion"], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_pictures_may_be_tensors_of_any_floats(net: Net, tmp_path: Path, dtype: torch.dtype) -> None:
    model = OnnxModel(export(net, tmp_path / "net.onnx", {"labels": ",".join(LABELS)}))
    pictures = (torch.from_numpy(FACES).permute(0, 3, 1, 2) / 255).to(dtype).requires_grad_()
    expected = net(pictures.float()).softmax(dim=1)
    torch.testing.assert_close(model(pictures)["emotion"], expected.detach(), atol=1e-6, rtol=1e-5)
    np.testing.assert_array_equal(model.predict_arrays(FACES)["emotion"], model(FACES)["emotion"].numpy())


def test_grey_input_size_and_framing(tmp_path: Path) -> None:
    net = Net(1).eval().requires_grad_(False)
    facts = {"color": "grey", "size": "24", "framing": '{"margin": 0.2}', "labels": ",".join(LABELS)}
    model = OnnxModel(export(net, tmp_path / "net.onnx", facts, size="side"))
    assert model.framing is not None
    assert model.framing.margin == 0.2
    expected = net(torch.from_numpy(FACES[:, None, ..., 0]) / 255).softmax(dim=1)
    torch.testing.assert_close(model(FACES[..., 0])["emotion"], expected, atol=1e-6, rtol=1e-5)


def test_outputs_without_labels_are_values(tmp_path: Path) -> None:
    net = Net(3, 1).eval().requires_grad_(False)
    model = OnnxModel(export(net, tmp_path / "net.onnx", {}, outputs=1))
    values = net(torch.from_numpy(FACES).permute(0, 3, 1, 2) / 255)[:, 0]
    torch.testing.assert_close(model(FACES)["scores"], values, atol=1e-6, rtol=1e-5)
    assert model.framing is None


def test_several_columns_without_labels_are_refused(net: Net, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"output 'scores' has 3 columns.*\n.*--facts labels=A,B,\.\.\. with 3 names"):
        OnnxModel(export(net, tmp_path / "net.onnx", {}))
    network = {"backbone": {"use": "robust/plain_resnet"}, "head": {"use": "vlqr/valence"}}
    card = ModelCard(name="x", network=network, clip=ClipSpec(1, 3, 24, 24), targets=(Target("scores", "value"),))
    with pytest.raises(RunError, match="output 'scores' has 3 columns"):
        OnnxModel(export(net, tmp_path / "card.onnx", {"card": card.to_json()}))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"labels": "a,b"}, r"2 labels, but its outputs have the shapes \[1, 3\]"),
        ({"color": "grey"}, "its input has 3 channels"),
        ({"colour": "rgb"}, "colour: Extra inputs are not permitted"),
        ({"framing": '{"side": 3}'}, "framing: Value error, unknown: side"),
        ({"range": "0"}, "range"),
    ],
)
def test_wrong_facts_are_refused(net: Net, tmp_path: Path, facts: dict, words: str) -> None:
    with pytest.raises(RunError, match=words):
        OnnxModel(export(net, tmp_path / "net.onnx", {}), facts)


def test_files_without_a_size_and_damaged_files_are_refused(net: Net, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not state the size of its input"):
        OnnxModel(export(net, tmp_path / "net.onnx", {}, size="side"))
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(RunError, match="cannot be read"):
        OnnxModel(tmp_path / "broken.onnx")
