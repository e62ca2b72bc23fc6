"""The restoration head: shapes at any stride, both reductions of the loss, gradients, invalid inputs."""

import pytest
import torch
from torch.nn.functional import conv2d, pixel_shuffle, relu

from blear.contracts import Batch, BuildContext, ClipSpec, Head, Images
from blear.errors import PluginError
from blear.plugin.discovery import load_plugins
from blear_adverse.params import ResNet18Params, RestorationParams
from blear_adverse.resnet18 import ResNet18
from blear_adverse.restoration import Restoration


def head(at="map", size=48, clip_channels=1, length=1, features=None, **params):
    clip = ClipSpec(length, clip_channels, size, size)
    shapes = {"map": (length, 8, 12, 12), "embedding": (length, 8)} if features is None else features
    return Restoration(RestorationParams(at=at, **params), BuildContext(clip=clip, features=shapes))


def batch(clean):
    return Batch(torch.zeros(1), clean, {})


def test_restoration_equals_explicit_layers():
    torch.manual_seed(0)
    network = head(clip_channels=3, channels=[5, 6])
    assert isinstance(network, Head)
    maps = torch.randn(2, 3, 8, 12, 12)
    state = network.state_dict()
    x = maps.flatten(0, 1)
    for n in range(2):
        x = relu(conv2d(x, state[f"hidden.{n}.weight"], state[f"hidden.{n}.bias"], padding=1))
    x = conv2d(x, state["last.weight"], state["last.bias"], padding=1)
    outputs = network({"map": maps})
    assert x.shape[1] == 3 * 4**2
    assert outputs.shape == (2, 3, 3, 48, 48)
    torch.testing.assert_close(outputs.flatten(0, 1), pixel_shuffle(x, 4))
    decoded = network.decode(outputs)
    assert isinstance(decoded["image"], Images)
    assert decoded["image"].frames_BTCHW is outputs
    assert network.metrics() == ()


@pytest.mark.parametrize(
    ("size", "side", "stride"), [(48, 12, 4), (50, 13, 4), (50, 7, 8), (33, 17, 2), (31, 31, 1), (48, 16, 3)]
)
def test_stride_is_derived_and_the_picture_has_the_clips_size(size, side, stride):
    network = head(size=size, features={"map": (1, 2, side, side)}, channels=[])
    assert network.last.out_channels == stride**2
    assert network({"map": torch.zeros(1, 1, 2, side, side)}).shape == (1, 1, 1, size, size)


@pytest.mark.parametrize("stem", ["imagenet", "half", "small"])
@pytest.mark.parametrize("at", ["stem", "layer2"])
def test_any_map_of_resnet18_gives_whole_pictures(stem, at):
    trunk = ResNet18(ResNet18Params(stem=stem, width=1 / 16, until=at), BuildContext(clip=ClipSpec(2, 1, 50, 50)))
    features = trunk(torch.rand(3, 2, 1, 50, 50))
    network = head(at, 50, 1, 2, {name: tuple(f.shape[1:]) for name, f in features.items()}, channels=[4])
    assert network(features).shape == (3, 2, 1, 50, 50)


@pytest.mark.parametrize(("name", "at", "size"), [("dsn/resnet50", "stage3", 32), ("dsn/vgg", "stage2", 32)])
def test_maps_of_other_plugins_trunks(name, at, size):
    clip = BuildContext(clip=ClipSpec(1, 3, size, size))
    trunk = load_plugins().get("backbone", name).build({"width": 1 / 32}, clip).eval()
    features = trunk(torch.rand(2, 1, 3, size, size))
    shapes = {key: tuple(f.shape[1:]) for key, f in features.items()}
    network = head(at, size, 3, 1, shapes, stride=-(-size // shapes[at][-1]), channels=[])
    outputs = network(features)
    network.loss(outputs, batch(torch.rand(2, 1, 3, size, size))).backward()
    given = {n for n, p in trunk.named_parameters() if p.grad is not None}
    none = {n for n, p in trunk.named_parameters() if p.requires_grad and p.grad is None}
    assert given
    assert none  # layers after the map
    last_with, first_without = list(dict(trunk.named_parameters())), sorted(none)
    assert all(last_with.index(n) < last_with.index(first_without[0]) for n in given) or name == "dsn/resnet50"


def test_loss_is_a_mean_over_pixels_or_caffes_sum():
    outputs, clean = torch.zeros(2, 3, 1, 4, 4), torch.full((2, 3, 1, 4, 4), 0.5)
    clean[0] = 0.1
    mean, caffe = (head(loss=kind) for kind in ("mean", "caffe"))
    # squared errors: 48 values of 0.01 and 48 of 0.25, over 96 values, or 2 * 6 frames
    assert mean.loss(outputs, batch(clean)).item() == pytest.approx((0.01 + 0.25) / 2)
    assert caffe.loss(outputs, batch(clean)).item() == pytest.approx(48 * (0.01 + 0.25) / (2 * 6))


def test_loss_uses_only_the_common_centre():
    border = torch.full((1, 1, 1, 8, 8), 100.0)
    border[..., 2:6, 2:6] = 0.5
    small = torch.zeros(1, 1, 1, 4, 4)
    network = head(stride=4)
    assert network.loss(small, batch(border)).item() == pytest.approx(0.25)  # unpadded layers lost the border
    assert network.loss(border, batch(small)).item() == pytest.approx(0.25)  # the data's clean patch is smaller
    with pytest.raises(PluginError, match="4x4 pixels cannot be centred in 7x7"):
        network.loss(small, batch(border[..., :7, :7]))


def test_unpadded_layers_remove_the_border():
    network = head(size=32, features={"map": (1, 8, 20, 20)}, stride=1, channels=[4], kernel=5, padded=False)
    assert network({"map": torch.zeros(1, 1, 8, 20, 20)}).shape == (1, 1, 1, 12, 12)


def test_restoration_learns_the_clean_pictures():
    """A front and the head see noise on a constant; the mean square falls below a tenth of where it was."""
    torch.manual_seed(0)
    context = BuildContext(clip=ClipSpec(1, 1, 16, 16))
    trunk = ResNet18(ResNet18Params(stem="half", width=1 / 8, until="layer1"), context)
    network = head("layer1", 16, features={"layer1": (1, 8, 8, 8)}, channels=[16])
    clean = torch.rand(16, 1, 1, 1, 1).expand(16, 1, 1, 16, 16)
    degraded = clean + 0.1 * torch.randn(16, 1, 1, 16, 16)
    optimizer = torch.optim.Adam([*trunk.parameters(), *network.parameters()], lr=1e-2)
    losses = []
    for _ in range(40):
        loss = network.loss(network(trunk(degraded)), batch(clean))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"at": "layer1"}, "gives no feature map 'layer1'; its maps are: map"),
        ({"at": "embedding"}, "gives no feature map 'embedding'"),
        ({"size": 32, "features": {"map": (1, 8, 20, 20)}}, "map of 20x20 pixels is no even reduction of 32x32"),
        ({"kernel": 5, "channels": [4, 4], "padded": False}, "map of 12x12 pixels is smaller than its convolutions"),
    ],
)
def test_invalid_inputs_are_rejected(how, words):
    with pytest.raises(PluginError, match=words):
        head(**how)


def test_even_kernels_cannot_be_padded():
    with pytest.raises(ValueError, match="odd kernel"):
        RestorationParams(at="map", kernel=4)
    assert RestorationParams(at="map", kernel=4, padded=False).kernel == 4
