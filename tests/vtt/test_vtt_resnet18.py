"""ResNet-18 and its shifts: parameter count, torchvision's numbers, the shifts against explicit loops."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from blear.contracts import Backbone, BuildContext, ClipSpec
from blear.errors import PluginError
from blear_vtt.params import ResNet18Params
from blear_vtt.resnet18 import ResNet18
from blear_vtt.temporal_shift import bidirectional, causal


def build(length=4, size=32, channels=3, **params):
    torch.manual_seed(3)
    return ResNet18(ResNet18Params(**params), BuildContext(clip=ClipSpec(length, channels, size, size)))


def frames(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("shift", ["none", "causal_stage", "residual_bidirectional"])
def test_published_parameter_count(shift):
    with torch.device("meta"):
        backbone = ResNet18(ResNet18Params(shift=shift), BuildContext(clip=ClipSpec(4, 3, 224, 224)))
        linear = nn.Linear(512, 7)
        features = backbone(torch.zeros(2, 4, 3, 224, 224))
    count = sum(p.numel() for p in (*backbone.parameters(), *linear.parameters()))
    assert count == 11_180_103
    assert features["embedding"].shape == (2, 4, 512)
    assert features["layer4"].shape == (2, 4, 512, 7, 7)
    assert isinstance(backbone, Backbone)


def test_with_classes_it_has_the_published_parameters_and_torchvisions_names():
    with torch.device("meta"):
        backbone = ResNet18(ResNet18Params(classes=7), BuildContext(clip=ClipSpec(4, 3, 224, 224)))
    assert sum(p.numel() for p in backbone.parameters()) == 11_180_103
    assert backbone.state_dict().keys() == resnet18(weights=None, num_classes=7).state_dict().keys()
    small = build(width=0.25, classes=7).eval()
    features = small(frames(2, 3, 3, 32, 32))
    torch.testing.assert_close(
        features["logits"], features["embedding"] @ small.fc.weight.T + small.fc.bias, atol=1e-6, rtol=1e-5
    )


def test_without_shift_it_is_torchvisions_network():
    ours, theirs = build(), resnet18(weights=None)
    theirs.fc = nn.Identity()
    theirs.load_state_dict(ours.state_dict())
    clips = frames(2, 3, 3, 48, 48)
    expected = theirs.eval()(clips.flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(ours.eval()(clips)["embedding"], expected, atol=1e-5, rtol=1e-5)


def test_initialised_by_fan_out():
    weight = build().layer4[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert build().bn1.weight.eq(1).all()
    assert build().bn1.bias.eq(0).all()


@pytest.mark.parametrize("zero_fill", [False, True])
def test_causal_shift_equals_a_loop(zero_fill):
    maps = frames(2, 4, 8, 2, 3)
    before, expected = maps.clone(), maps.clone()
    for b in range(2):
        for t in range(4):
            for c in range(8 // 4):
                if t > 0:
                    expected[b, t, c] = before[b, t - 1, c]
                elif zero_fill:
                    expected[b, t, c] = 0
    assert torch.equal(causal(maps, zero_fill), expected)
    assert torch.equal(maps, before)


def test_bidirectional_shift_equals_the_reference_loop():
    maps = frames(2, 5, 16, 2, 3)
    expected = torch.zeros_like(maps)
    fold = 16 // 8
    for t in range(5):
        for c in range(16):
            source = t + 1 if c < fold else t - 1 if c < 2 * fold else t
            if 0 <= source < 5:
                expected[:, t, c] = maps[:, source, c]
    assert torch.equal(bidirectional(maps), expected)


@pytest.mark.parametrize("length", [1, 2])
def test_shifts_of_short_clips(length):
    maps = frames(1, length, 8, 2, 2)
    assert torch.equal(causal(maps)[:, 0], maps[:, 0])
    assert bidirectional(maps).shape == maps.shape


def by_hand(network, frame_list, zero_fill=False):
    """The shifted network one frame after another, in the terms of the spec's section 3.2."""

    def block(b, x):
        short = x if b.downsample is None else b.downsample(x)
        return (b.bn2(b.conv2(b.bn1(b.conv1(x)).relu())) + short).relu()

    maps = [network.maxpool(network.bn1(network.conv1(frame)).relu()) for frame in frame_list]
    for stage in (network.layer1, network.layer2, network.layer3):
        maps = [block(stage[1], block(stage[0], x)) for x in maps]
        quarter = maps[0].shape[1] // 4
        moved = []
        for t, x in enumerate(maps):
            x = x.clone()
            if t > 0:
                x[:, :quarter] = maps[t - 1][:, :quarter]
            elif zero_fill:
                x[:, :quarter] = 0
            moved.append(x)
        maps = moved
    maps = [block(network.layer4[1], block(network.layer4[0], x)) for x in maps]
    return torch.stack([x.mean((2, 3)) for x in maps], dim=1)


@pytest.mark.parametrize("zero_fill", [False, True])
def test_causal_network_equals_frame_by_frame(zero_fill):
    network = build(shift="causal_stage", zero_fill=zero_fill, width=0.25).eval()
    clips = frames(2, 4, 3, 32, 32)
    expected = by_hand(network, list(clips.unbind(1)), zero_fill)
    torch.testing.assert_close(network(clips)["embedding"], expected, atol=1e-5, rtol=1e-5)


def changed_frames(network, touched, length=6):
    clips = frames(1, length, 3, 32, 32)
    other = clips.clone()
    other[:, touched] = 1 - other[:, touched]
    before, after = network(clips)["embedding"], network(other)["embedding"]
    return [t for t in range(length) if not torch.equal(before[0, t], after[0, t])]


def test_temporal_reach():
    """Causal: three shifts look three frames back. Without shift: the frame alone."""
    assert changed_frames(build(shift="causal_stage", width=0.25).eval(), 1) == [1, 2, 3, 4]
    assert changed_frames(build(width=0.25).eval(), 1) == [1]
    assert changed_frames(build(shift="residual_bidirectional", width=0.25).eval(), 3) == [0, 1, 2, 3, 4, 5]


def test_static_weights_load_and_a_repeated_frame_gives_the_static_output():
    static, shifted = build(width=0.25), build(width=0.25, shift="causal_stage")
    assert static.state_dict().keys() == shifted.state_dict().keys()
    shifted.load_state_dict(static.state_dict())
    clip = frames(1, 1, 3, 32, 32).expand(1, 4, 3, 32, 32)
    torch.testing.assert_close(shifted.eval()(clip)["embedding"], static.eval()(clip)["embedding"])


def test_reference_shift_does_not_change_the_shortcut():
    """With all residual branches dead, the reference network is the static one; the causal one is not."""
    clips = frames(1, 3, 3, 32, 32)
    out = {}
    for shift in ("none", "causal_stage", "residual_bidirectional"):
        network = build(width=0.25, shift=shift).eval()
        for name, weight in network.named_parameters():
            if "bn2" in name:
                nn.init.zeros_(weight)
        out[shift] = network(clips)["embedding"]
    assert torch.equal(out["none"], out["residual_bidirectional"])
    assert not torch.equal(out["none"], out["causal_stage"])


def test_gradient_reaches_the_first_layer_through_the_past_alone():
    network = build(width=0.25, shift="causal_stage").eval()
    clips = frames(1, 4, 3, 32, 32).requires_grad_()
    network(clips)["embedding"][:, 3].sum().backward()
    per_frame = clips.grad.abs().sum(dim=(0, 2, 3, 4))
    assert (per_frame > 0).all()
    clips.grad = None
    network(clips)["embedding"][:, 0].sum().backward()
    assert clips.grad[:, 1:].abs().sum() == 0
    assert network.conv1.weight.grad.abs().sum() > 0


def test_grey_frames_are_repeated():
    grey = frames(1, 2, 1, 32, 32)
    network = build(channels=1, width=0.25).eval()
    torch.testing.assert_close(network(grey)["embedding"], network(grey.expand(1, 2, 3, 32, 32))["embedding"])


def test_input_crops_the_central_square_of_larger_frames():
    network = build(width=0.25, size=42, input=32).eval()
    clips = frames(1, 2, 3, 42, 42)
    torch.testing.assert_close(network(clips)["layer4"], network(clips[..., 5:37, 5:37])["layer4"], atol=0, rtol=0)
    small = frames(1, 1, 3, 24, 24)
    assert torch.equal(network(small)["layer4"], build(width=0.25).eval()(small)["layer4"])


def test_impossible_clips_are_rejected():
    with pytest.raises(PluginError, match="clips of 2 channels"):
        build(channels=2)
    with pytest.raises(PluginError, match="needs the shape of the clips"):
        ResNet18(ResNet18Params(), BuildContext())


def test_compiles_as_one_graph():
    network = build(width=0.125, shift="causal_stage").eval()
    clips = frames(1, 4, 3, 32, 32)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(clips)["embedding"], network(clips)["embedding"])
