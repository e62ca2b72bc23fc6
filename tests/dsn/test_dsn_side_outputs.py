"""The side outputs: upsampling and crops at the published sizes, short connections, loss, decoding, a training step."""

import math

import numpy as np
import pytest
import torch
from dsn_models import CLASSES, build, context, cross_entropy, enlarge, in_numpy, side_logits

from blear.contracts import Batch, Categories
from blear.errors import PluginError
from blear.plugin.discovery import load_plugins
from blear_dsn.upsample import Upsample, bilinear, enlarged, offset

VGG = {6: (8, 288, 32), 5: (15, 256, 16), 4: (29, 240, 8), 3: (58, 236, 6), 2: (116, 234, 5), 1: (232, 232, 4)}
RESNET = {6: (7, 256, 16), 5: (14, 240, 8), 4: (28, 232, 4), 3: (56, 228, 2), 2: (112, 226, 1)}
"""Stage -> rows, rows before the crop, offset of the crop to 224."""


def tiny(size=22, **head_params):
    torch.manual_seed(3)
    trunk = {"width": 1 / 32, "normalise": "torchvision"}
    return build(
        "dsn/vgg", "dsn/side_outputs", size=size, backbone_params=trunk, head_params={"width": 1 / 32} | head_params
    )


def batch(labels, frames):
    return Batch(frames, frames, {"emotion": torch.tensor(labels)})


@pytest.mark.parametrize("table", [VGG, RESNET], ids=["vgg", "resnet"])
def test_sizes_before_the_crop_and_offsets(table):
    for stage, (rows, before, first) in table.items():
        factor = 2 ** (stage - 1)
        assert enlarged(rows, factor) == before
        assert offset(before, 224, aligned=True) == first
        assert offset(before, 224, aligned=False) == 0
        ones = Upsample(factor, aligned=True)(torch.ones(1, 1, rows, rows), 224, 224)
        assert ones.shape == (1, 1, 224, 224)


def test_head_inputs():
    with torch.device("meta"):
        vgg, resnet = (build(name, "dsn/side_outputs").head for name in ("dsn/vgg", "dsn/resnet50"))
    inputs = {name: part.classify.in_features for name, part in vgg.named_children()}
    assert inputs == {
        "side6": 64,
        "side5": 225,
        "side4": 841,
        "side3": 3364,
        "side2": 13_456,
        "side1": 53_824,
        "fuse": 50_176,
    }
    inputs = {name: part.classify.in_features for name, part in resnet.named_children()}
    assert inputs == {"side6": 49, "side5": 196, "side4": 784, "side3": 3136, "side2": 12_544, "fuse": 50_176}
    kernels = {name: tuple(part.conv_a.weight.shape) for name, part in vgg.named_children() if name != "fuse"}
    assert kernels == {
        "side6": (256, 512, 7, 7),
        "side5": (256, 512, 5, 5),
        "side4": (128, 512, 5, 5),
        "side3": (128, 256, 5, 5),
        "side2": (64, 128, 3, 3),
        "side1": (64, 64, 3, 3),
    }


def test_bilinear_kernel_equals_hand_computation():
    tent = torch.tensor([0.25, 0.75, 0.75, 0.25])
    torch.testing.assert_close(bilinear(2), torch.outer(tent, tent))
    torch.testing.assert_close(bilinear(4)[0], torch.tensor([1, 3, 5, 7, 7, 5, 3, 1]) / 8 / 8)
    for factor in (2, 4, 8, 16, 32):
        assert bilinear(factor).shape == (2 * factor, 2 * factor)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_upsampling_equals_explicit_loops(factor):
    maps = torch.randn(2, 1, 3, 5)
    whole = Upsample(factor, aligned=False)(maps, 4 * factor, 6 * factor)
    for n in range(2):
        np.testing.assert_allclose(whole[n, 0], enlarge(maps[n, 0].numpy(), factor), atol=1e-5)
    ones = Upsample(factor, aligned=True)(torch.ones(1, 1, 4, 4), 3 * factor, 3 * factor)
    torch.testing.assert_close(ones, torch.ones_like(ones))  # the weights of an inner pixel sum to 1


def test_an_odd_excess_counts_half_up():
    maps = torch.arange(36.0).view(1, 1, 6, 6)
    assert Upsample(1, aligned=True)(maps, 3, 3)[0, 0, 0].tolist() == [14, 15, 16]  # excess 3: offset 2
    assert Upsample(1, aligned=True)(maps, 4, 5)[0, 0, 0].tolist() == [7, 8, 9, 10, 11]  # 1 above and 1 left
    assert Upsample(1, aligned=False)(maps, 3, 3)[0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("params", [{}, {"crop": "top_left"}, {"reduce": 64}], ids=["published", "top_left", "lean"])
def test_all_outputs_equal_explicit_loops(params):
    model = tiny(**params).double().eval()
    frames = torch.rand(2, 1, 3, 22, 22, dtype=torch.float64)
    torch.manual_seed(4)
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    features = model.backbone(frames)
    outputs = model.head(features)
    assert list(outputs) == ["stage6", "stage5", "stage4", "stage3", "stage2", "stage1", "fused"]
    assert hasattr(model.head.side6, "reduce")
    assert (model.head.side6.reduce is not None) == ("reduce" in params)
    for b in range(2):
        stages = {k: features[f"stage{k}"][b, 0].detach().numpy() for k in range(1, 7)}
        expected = side_logits(in_numpy(model.head), stages, 22, 22, params.get("crop", "aligned"))
        for name, logits in outputs.items():
            np.testing.assert_allclose(logits[b, 0].detach(), expected[name], rtol=1e-6, atol=1e-8)


def test_initial_weights():
    head = tiny().head
    for name, parameter in head.named_parameters():
        if name == "fuse.mix.weight":
            torch.testing.assert_close(parameter, torch.full((1, 6, 1, 1), 1 / 6))
        elif name.endswith("bias"):
            assert not parameter.any()
        elif parameter.numel() > 1000:
            assert parameter.std().item() == pytest.approx(0.01, rel=0.1)
    with torch.device("meta"):
        assert build("dsn/resnet50", "dsn/side_outputs").head.fuse.mix.weight.shape[1] == 5
    assert head.fuse.mix.bias.tolist() == [0]
    head = tiny(init="xavier").head
    assert head.side6.conv_a.weight.abs().max().item() == pytest.approx(math.sqrt(3 / (16 * 49)), rel=1e-2)
    assert head.fuse.mix.weight.flatten().tolist() == pytest.approx([1 / 6] * 6)
    assert not head.side6.conv_a.bias.any()


def test_the_loss_is_the_sum_of_seven_terms():
    head = tiny().head
    logits = torch.zeros(2, 1, 7)
    outputs = dict.fromkeys(("stage6", "stage5", "stage4", "stage3", "stage2", "stage1", "fused"), logits)
    frames = torch.zeros(2, 1, 3, 22, 22)
    assert head.loss(outputs, batch([0, 3], frames)).item() == pytest.approx(7 * math.log(7))
    sharp = logits.clone()
    sharp[0, 0, 0] = 2.0  # right for the first clip only
    term = (math.log(math.exp(2) + 6) - 2 + math.log(7)) / 2
    outputs = outputs | {"stage3": sharp}
    assert head.loss(outputs, batch([0, 3], frames)).item() == pytest.approx(6 * math.log(7) + term, rel=1e-6)
    longer = {name: value.expand(2, 4, 7) for name, value in outputs.items()}
    assert head.loss(longer, batch([0, 3], frames)).item() == pytest.approx(6 * math.log(7) + term, rel=1e-6)


def test_decode_uses_the_fused_output():
    head = tiny().head
    outputs = {name: torch.randn(1, 2, 7) for name in ("stage6", "fused")}
    outputs["fused"] = torch.log(torch.tensor([[[0.6, 0.4], [0.1, 0.9]]])).repeat(1, 1, 1)
    decoded = head.decode(outputs)["emotion"]
    assert isinstance(decoded, Categories)
    assert decoded.classes == CLASSES
    torch.testing.assert_close(decoded.probabilities_BTK, torch.tensor([[[0.35, 0.65]]]))  # mean of the frames
    assert [metric.name for metric in head.metrics()] == ["accuracy", "balanced_accuracy", "macro_f1"]


@pytest.mark.parametrize("backbone", ["dsn/vgg", "dsn/resnet50"])
def test_every_trainable_parameter_gets_a_gradient(backbone):
    torch.manual_seed(5)
    params = {"width": 1 / 16, "normalise": "torchvision"}
    model = build(backbone, "dsn/side_outputs", size=48, backbone_params=params, head_params={"width": 1 / 16})
    for name, parameter in model.head.named_parameters():
        if name.endswith("conv_a.bias"):  # keep the few channels alive
            torch.nn.init.constant_(parameter, 0.1)
    frames = torch.rand(4, 1, 3, 48, 48)
    model.head.loss(model(frames), batch([0, 1, 2, 3], frames)).backward()
    trainable = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    without = [name for name, grad in trainable.items() if grad is None or not grad.any()]
    assert without == []
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_one_step_of_training_against_finite_differences():
    """SGD moves each parameter by -lr times the slope of the seven-term loss, found by the numpy reference."""
    model = tiny().double()
    frames = torch.rand(2, 1, 3, 22, 22, dtype=torch.float64)
    torch.manual_seed(6)
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    labels, lr, eps = [2, 5], 0.01, 1e-6
    features = model.backbone(frames)
    stages = [{k: features[f"stage{k}"][b, 0].detach().numpy() for k in range(1, 7)} for b in range(2)]
    weights = in_numpy(model.head)

    def loss(weights):
        terms = [
            cross_entropy(logits, label)
            for stage, label in zip(stages, labels, strict=True)
            for logits in side_logits(weights, stage, 22, 22).values()
        ]
        assert len(terms) == 14
        return sum(terms) / 2

    slopes = {}
    for name, place in {
        "side6.conv_a.weight": (1, 3, 2, 4),
        "side5.conv_b.weight": (0, 2, 0, 0),
        "side4.mix.weight": (0, 1, 0, 0),
        "side3.classify.weight": (6, 11),
        "side1.mix.bias": (0,),
        "fuse.mix.weight": (0, 5, 0, 0),
        "fuse.classify.bias": (2,),
    }.items():
        up, down = ({k: v.copy() for k, v in weights.items()} for _ in range(2))
        up[name][place] += eps
        down[name][place] -= eps
        slopes[name, place] = (loss(up) - loss(down)) / (2 * eps)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    first = model.head.loss(model(frames), batch(labels, frames))
    assert first.item() == pytest.approx(loss(weights), rel=1e-6)
    first.backward()
    optimizer.step()
    after = in_numpy(model.head)
    for (name, place), slope in slopes.items():
        assert abs(slope) > 1e-6, name
        assert after[name][place] - weights[name][place] == pytest.approx(-lr * slope, rel=1e-4)


def test_two_linear_equals_hand_computation():
    head = load_plugins().get("head", "dsn/two_linear").build({"dropout": 0.0}, context(features={"embedding": (1, 3)}))
    assert head.first.weight.shape == (7, 3)
    assert head.second.bias.tolist() == pytest.approx([0.1] * 7)
    assert head.second.weight.abs().max() <= math.sqrt(3 / 7)
    embedding = torch.randn(2, 2, 3)
    w, b, v, c = (p.detach().numpy() for p in head.parameters())
    expected = (embedding.numpy() @ w.T + b) @ v.T + c
    logits = head({"embedding": embedding})
    np.testing.assert_allclose(logits.detach(), expected, atol=1e-6)
    terms = [cross_entropy(expected[i, t], label) for i, label in enumerate((1, 6)) for t in range(2)]
    assert head.loss(logits, batch([1, 6], embedding)).item() == pytest.approx(sum(terms) / 4, rel=1e-5)


def test_two_linear_drops_half_of_the_first_logits_in_training():
    head = load_plugins().get("head", "dsn/two_linear").build({}, context(features={"embedding": (1, 3)}))
    torch.nn.init.eye_(head.second.weight)
    torch.nn.init.zeros_(head.second.bias)
    torch.nn.init.constant_(head.first.bias, 1.0)
    torch.nn.init.zeros_(head.first.weight)
    logits = head({"embedding": torch.zeros(500, 1, 3)})
    assert set(logits.unique().tolist()) == {0.0, 2.0}
    assert logits.mean().item() == pytest.approx(1, abs=0.06)


def refusal(head, features, *words):
    with pytest.raises(PluginError) as caught:
        load_plugins().get("head", f"dsn/{head}").build({}, context(features=features))
    for word in words:
        assert word in str(caught.value)
    assert caught.value.do


def test_invalid_inputs_are_rejected():
    refusal("two_linear", {"map": (1, 3, 4, 4)}, "'embedding'", "gives: map")
    refusal("side_outputs", {"embedding": (1, 3)}, "stage1 to stage6", "gives: embedding")
    small = {"input": (1, 3, 64, 64), "stage5": (1, 8, 4, 4), "stage6": (1, 8, 1, 1)}
    refusal("side_outputs", small | {"stage6": (1, 8, 0, 0)}, "stage6 of 0x0 enlarged 32 times is below 64x64")
    joined = {"input": (1, 3, 64, 64), "stage4": (1, 8, 9, 30), "stage6": (1, 8, 3, 3)}
    refusal("side_outputs", joined, "stage6 of 3x3 enlarged 4 times is below 30x9")
    for head in ("two_linear", "side_outputs"):
        with pytest.raises(PluginError, match="no class target 'mood'"):
            load_plugins().get("head", f"dsn/{head}").build({"target": "mood"}, context())
