"""ResNet-18 and the plain CNN: equality with torchvision and explicit layers, `until`, frozen parts."""

import math

import pytest
import torch
from torch.nn.functional import conv2d, linear, max_pool2d, relu
from torchvision.models import resnet18

from blear.contracts import Backbone, BuildContext, ClipSpec
from blear.errors import PluginError
from blear_adverse.cnn import Cnn
from blear_adverse.params import CnnParams, ResNet18Params
from blear_adverse.resnet18 import ResNet18

PARTS = ("stem", "layer1", "layer2", "layer3", "layer4")


def context(size=48, channels=1, length=1):
    return BuildContext(clip=ClipSpec(length, channels, size, size))


def resnet(size=48, channels=1, **params):
    return ResNet18(ResNet18Params(**params), context(size, channels))


def cnn(size=48, colours=1, **params):
    return Cnn(CnnParams(**params), context(size, colours))


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_resnet18_equals_torchvisions():
    torch.manual_seed(0)
    reference = resnet18(num_classes=5).eval()
    ours = resnet(64, 3).eval()
    assert isinstance(ours, Backbone)
    assert count(ours) == 11_176_512 == count(reference) - 5 * 512 - 5
    missing = ours.load_state_dict(reference.state_dict(), strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == ([], ["fc.weight", "fc.bias"])
    frames = torch.rand(2, 3, 3, 64, 64)
    with torch.no_grad():
        features = ours(frames)
        logits = reference.fc(features["embedding"].flatten(0, 1))
        torch.testing.assert_close(logits, reference(frames.flatten(0, 1)))
    assert {name: tuple(f.shape[2:]) for name, f in features.items()} == {
        "stem": (64, 32, 32),
        "layer1": (64, 16, 16),
        "layer2": (128, 8, 8),
        "layer3": (256, 4, 4),
        "layer4": (512, 2, 2),
        "embedding": (512,),
    }


@pytest.mark.parametrize(
    ("stem", "kernel", "sides"),
    [("imagenet", 7, [24, 12, 6, 3, 2]), ("half", 5, [24, 24, 12, 6, 3]), ("small", 3, [48, 48, 24, 12, 6])],
)
def test_stems(stem, kernel, sides):
    network = resnet(stem=stem, width=1 / 16)
    features = network(torch.rand(1, 2, 1, 48, 48))
    assert [features[part].shape[-1] for part in PARTS] == sides
    assert tuple(network.conv1.weight.shape) == (4, 1, kernel, kernel)


@pytest.mark.parametrize("until", PARTS)
def test_until_gives_the_first_layers_of_the_whole_network(until):
    torch.manual_seed(0)
    whole, front = resnet(width=1 / 8).eval(), resnet(width=1 / 8, until=until).eval()
    kept = PARTS[: PARTS.index(until) + 1]
    state = whole.state_dict()
    names = [n for n in state if n.split(".")[0] in ("conv1", "bn1", *kept)]
    assert list(front.state_dict()) == names
    front.load_state_dict({name: state[name] for name in names})
    frames = torch.rand(2, 1, 1, 48, 48)
    with torch.no_grad():
        features, wanted = front(frames), whole(frames)
    assert tuple(features) == kept
    for name in kept:
        assert torch.equal(features[name], wanted[name])


def test_frozen_parts_keep_weights_and_statistics_in_training():
    torch.manual_seed(0)
    network = resnet(width=1 / 8, frozen="layer1")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert {n.split(".")[0] for n in frozen} == {"conv1", "bn1", "layer1"}
    assert {n.split(".")[0] for n, p in network.named_parameters() if p.requires_grad} == {"layer2", "layer3", "layer4"}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1)
    network.eval().train()
    network(torch.rand(4, 1, 1, 48, 48))["embedding"].square().mean().backward()
    optimizer.step()
    changed = {
        name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"layer2", "layer3", "layer4"}


def test_input_is_normalised_by_channel():
    torch.manual_seed(0)
    plain = resnet(32, 3, width=1 / 16).eval()
    other = resnet(32, 3, width=1 / 16, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)).eval()
    other.load_state_dict(plain.state_dict())
    frames = torch.rand(2, 1, 3, 32, 32)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(other(frames)["embedding"], plain((frames - mean) / std)["embedding"])
    with pytest.raises(PluginError, match="3 values of `mean` for frames of 1 channels"):
        resnet(mean=(0.4, 0.5, 0.6))


def test_cnn_equals_explicit_layers():
    torch.manual_seed(0)
    network = cnn(20, 3, channels=[4, 6], kernels=[3, 5], pools=[2, 3], hidden=7, dropout=0, mean=0.5, std=0.25)
    frames = torch.rand(2, 3, 3, 20, 20)
    state = network.state_dict()
    x = (frames.flatten(0, 1) - 0.5) / 0.25
    conv1 = max_pool2d(relu(conv2d(x, state["conv1.weight"], state["conv1.bias"])), 2, ceil_mode=True)
    conv2 = max_pool2d(relu(conv2d(conv1, state["conv2.weight"], state["conv2.bias"])), 3, ceil_mode=True)
    embedding = relu(linear(conv2.flatten(1), state["fc3.weight"], state["fc3.bias"]))
    features = network(frames)
    assert list(features) == ["conv1", "conv2", "embedding"]
    assert features["conv2"].shape == (2, 3, 6, 2, 2)
    for name, wanted in (("conv1", conv1), ("conv2", conv2), ("embedding", embedding)):
        torch.testing.assert_close(features[name].flatten(0, 1), wanted)


def test_cnn_without_hidden_layer_and_padded():
    torch.manual_seed(0)
    network = cnn(21, channels=[4, 6], kernels=[3, 5], pools=[2, 1], hidden=None, padded=True).eval()
    features = network(torch.rand(2, 1, 1, 21, 21))
    assert [tuple(features[name].shape[2:]) for name in ("conv1", "conv2")] == [(4, 11, 11), (6, 11, 11)]
    torch.testing.assert_close(features["embedding"], features["conv2"].mean(dim=(-2, -1)))
    assert [name for name, _ in network.named_children()] == ["input", "conv1", "conv2", "dropout"]


def test_initialisation_of_the_cnn():
    torch.manual_seed(0)
    for init, std in (("xavier", 1 / math.sqrt(32 * 25)), ("gaussian", 0.001), ("default", 1 / math.sqrt(3 * 32 * 25))):
        weight = cnn(width=0.5, init=init).conv2.weight
        assert weight.std().item() == pytest.approx(std, rel=0.02)


def test_the_deepid_front_of_the_face_instance():
    """Section 3.3: layers 4, 5, 6 with 40, 60, 80 filters of 3, 3, 2, and 160 units."""
    network = cnn(
        55,
        3,
        channels=[64, 32, 20, 40, 60, 80],
        kernels=[9, 5, 3, 3, 3, 2],
        pools=[1, 2, 1, 2, 2, 1],
        hidden=160,
        padded=False,
    )
    assert [n for n, _ in network.named_children()][1:-1] == [
        "conv1",
        "conv2",
        "conv3",
        "conv4",
        "conv5",
        "conv6",
        "fc7",
    ]
    assert network.fc7.out_features == 160
    front = cnn(55, 3, channels=[64, 32, 20, 40, 60, 80], kernels=[9, 5, 3, 3, 3, 2], pools=[1] * 6, until="conv3")
    assert list(front(torch.rand(1, 1, 3, 55, 55))) == ["conv1", "conv2", "conv3"]
    shapes = {n: p.shape for n, p in network.named_parameters()}
    assert all(p.shape == shapes[n] for n, p in front.named_parameters())


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"kernels": [5, 5]}, "3 channels, 2 kernels and 3 pools"),
        ({"until": "conv4"}, "until conv4: there are 3 convolutions"),
        ({"padded": True, "kernels": [5, 4, 5]}, "odd kernels"),
        ({"until": "layer1"}, "should match pattern"),
    ],
)
def test_impossible_cnns_are_rejected_by_their_parameters(params, words):
    with pytest.raises(ValueError, match=words):
        CnnParams(**params)


def test_invalid_inputs_are_rejected():
    with pytest.raises(PluginError, match="28x28 pixels are too small for conv3"):
        cnn(13 + 15)
    assert cnn(29).fc4.in_features == 256
    for build in (lambda: Cnn(CnnParams(), BuildContext()), lambda: ResNet18(ResNet18Params(), BuildContext())):
        with pytest.raises(PluginError, match="shape of the clips"):
            build()
