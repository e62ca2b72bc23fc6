"""VGG-Face and the face ResNet: published parameters, sizes, initialisation, equality with an explicit reference."""

import math

import pytest
import torch
from fer_references import CONVOLUTIONS, MEAN, POOL_AFTER, STD, resnet_reference, vgg_reference
from torch.nn.functional import interpolate, relu

from blear.contracts import Backbone, BuildContext, ClipSpec
from blear.errors import PluginError
from blear.job.schema import StartFrom
from blear.storage.run_folder import RunFolder
from blear.train.transfer import load_initial_weights
from blear_fer.networks.face_resnet import FaceResnet
from blear_fer.networks.params import FaceResnetParams, VggFaceParams
from blear_fer.networks.vgg_face import VggFace, pooled
from blear_fer.weight_names import CAFFE, CONVERTED, FINE_TUNED

TAPS = ("conv1_a", "conv1_b", "conv2", "conv3", "conv4")


def context(height=224, width=None, channels=3, length=1):
    return BuildContext(clip=ClipSpec(length, channels, height, width or height))


def vgg(height=40, channels=3, width=1 / 32, **params):
    return VggFace(VggFaceParams(width=width, **params), context(height, channels=channels))


def resnet(height=64, wide=48, channels=3, width=1 / 32, **params):
    return FaceResnet(FaceResnetParams(width=width, **params), context(height, wide, channels))


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_vgg_face_has_the_published_parameters():
    with torch.device("meta"):
        still, video = vgg(224, width=1), vgg(224, width=1, layers="fc6")
    assert isinstance(still, Backbone)
    assert count(still.features) == 14_714_688
    assert count(still) + 4096 * 7 + 7 == 134_289_223
    assert count(video) == 14_714_688 + 25_088 * 4096 + 4096
    names = [f"features.{n}" for n in CONVOLUTIONS]
    assert list(still.state_dict()) == [f"{n}.{p}" for n in [*names, "fc6", "fc7"] for p in ("weight", "bias")]
    assert list(video.state_dict()) == [f"{n}.{p}" for n in [*names, "fc6"] for p in ("weight", "bias")]


def test_maps_of_vgg_face_at_224():
    seen = []
    with torch.device("meta"):
        network = vgg(224, width=1)
        for position in (*CONVOLUTIONS, 30):
            network.features[position].register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
        assert network(torch.zeros(2, 3, 3, 224, 224))["embedding"].shape == (2, 3, 4096)
    sizes = [(64, 224)] * 2 + [(128, 112)] * 2 + [(256, 56)] * 3 + [(512, 28)] * 3 + [(512, 14)] * 3
    assert seen == [(c, s, s) for c, s in [*sizes, (512, 7)]]
    assert network.fc6.in_features == 25_088


@pytest.mark.parametrize(("pixels", "rows"), [(224, 7), (225, 8), (48, 2), (33, 2), (32, 1), (1, 1)])
def test_poolings_round_up(pixels, rows):
    assert pooled(pixels) == rows
    assert vgg(pixels).fc6.in_features == 16 * rows**2


@pytest.mark.parametrize("layers", [("fc6",), ("fc6", "fc7")])
def test_vgg_face_equals_explicit_layers_frame_by_frame(layers):
    torch.manual_seed(0)
    network = vgg(37, layers=layers[-1]).eval()
    frames = torch.rand(2, 3, 3, 37, 37)
    out = network(frames)["embedding"]
    assert out.std() > 1e-3
    expected = vgg_reference(network.state_dict(), frames.flatten(0, 1), layers).unflatten(0, (2, 3))
    torch.testing.assert_close(out, expected)


def test_dropout_only_with_layers_fc7():
    torch.manual_seed(0)
    frames = torch.rand(64, 1, 3, 40, 40)
    video = vgg(layers="fc6")
    assert torch.equal(video.train()(frames)["embedding"], video.eval()(frames)["embedding"])
    still = vgg(width=1 / 8)
    kept = still.eval()(frames)["embedding"]
    assert torch.equal(kept, still(frames)["embedding"])
    inputs = []
    still.fc7.register_forward_hook(lambda _, given, out: inputs.append((given[0], relu(out))))
    dropped = still.train()(frames)["embedding"]
    ((after_fc6, before_last),) = inputs
    alive = relu(still.fc6(still.features(still.input(frames)).flatten(1))) > 0
    assert (after_fc6[alive] == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    survivors = dropped[:, 0] > 0
    torch.testing.assert_close(dropped[:, 0][survivors], 2 * before_last[survivors])
    assert survivors[before_last > 0].float().mean().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [
        ("fer2013", [(v - MEAN) / STD for v in (0.2, 0.4, 0.6)]),
        ("imagenet", [(0.2 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.6 - 0.406) / 0.225]),
        ("center_loss", [(51 - 127.5) / 128, (102 - 127.5) / 128, (153 - 127.5) / 128]),
        ("legacy_first_channel_only", [(0.2 - MEAN) / STD, 0.4, 0.6]),
        ("vggface_preproc", [153 - 93.594, 102 - 104.762, 51 - 129.186]),
        ("caffe", [153 - 103.939, 102 - 116.779, 51 - 123.68]),
        ("caffe_test", [153.0 - 104, 102.0 - 117, 51.0 - 123]),
    ],
)
@pytest.mark.parametrize("make", [vgg, resnet])
def test_normalisations_of_one_colour(make, normalise, expected):
    network = make(48, normalise=normalise)
    frames = torch.tensor([0.2, 0.4, 0.6])[:, None, None].expand(1, 1, 3, 48, 48)
    torch.testing.assert_close(network.input(frames)[0, :, 5, 7], torch.tensor(expected), atol=1e-3, rtol=1e-5)
    assert not [name for name in network.state_dict() if name.startswith("input")]


@pytest.mark.parametrize("make", [vgg, resnet])
def test_grey_frames_are_repeated(make):
    grey, rgb = make(48, channels=1).eval(), make(48).eval()
    rgb.load_state_dict(grey.state_dict())
    frames = torch.rand(2, 2, 1, 48, 48)
    expected = rgb(frames.expand(2, 2, 3, 48, 48))["embedding"]
    torch.testing.assert_close(grey(frames)["embedding"], expected)
    with pytest.raises(PluginError, match="takes grey or RGB frames, not 2 channels"):
        make(48, channels=2)


def test_frames_of_any_size_are_resized_to_the_networks_own():
    network = vgg(30, size=(48, 40)).eval()
    assert network.fc6.in_features == 16 * 2 * 2
    plain = VggFace(VggFaceParams(width=1 / 32), context(48, 40)).eval()
    plain.load_state_dict(network.state_dict())
    frames = torch.rand(2, 1, 3, 30, 30)
    resized = interpolate(frames[:, 0], (48, 40), mode="bilinear", antialias=True, align_corners=False)[:, None]
    torch.testing.assert_close(network(frames)["embedding"], plain(resized)["embedding"])
    right_size = torch.rand(1, 1, 3, 48, 40)
    assert torch.equal(network(right_size)["embedding"], plain(right_size)["embedding"])


def test_initialisation_preserves_the_signal():
    torch.manual_seed(0)
    network = VggFace(VggFaceParams(width=0.25), context(64)).eval()
    embedding = network(torch.rand(8, 1, 3, 64, 64))["embedding"]
    assert 0.1 < embedding.std() < 10
    first = network.features[0]
    assert first.weight.std().item() == pytest.approx(math.sqrt(2 / 27), rel=0.1)
    assert not first.bias.any()


def converted_network(hidden, identities):
    """The converted file's network as the specification describes it; positions are the file's."""
    layers, channels = [], 3
    for position in CONVOLUTIONS:
        wide = max(1, round((64, 128, 256, 512, 512)[sum(p < position for p in POOL_AFTER)] / 32))
        layers += [torch.nn.Conv2d(channels, wide, 3, padding=1), torch.nn.ReLU()]
        layers += [torch.nn.MaxPool2d(2, 2, ceil_mode=True)] if position in POOL_AFTER else []
        channels = wide
    layers.append(torch.nn.Flatten())
    for inputs, outputs in ((channels * 4, hidden), (hidden, hidden), (hidden, identities)):
        layers += [torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(inputs, outputs)), torch.nn.ReLU()]
        layers += [torch.nn.Dropout(0.5)]
    return torch.nn.Sequential(*layers[:-2])


@pytest.mark.parametrize(("table", "prefix"), [(CONVERTED, ""), (FINE_TUNED, "pre_model.")])
def test_weights_of_the_converted_file_and_of_the_fine_tuned_checkpoint(table, prefix, tmp_path):
    torch.manual_seed(0)
    source, network = converted_network(128, 11).eval(), vgg(48).eval()
    assert [name for name in source.state_dict() if ".1." in name][::2] == ["32.1.weight", "35.1.weight", "38.1.weight"]
    weights = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    file = tmp_path / "vgg_face.pth"
    torch.save(weights | {"classifier.weight": torch.zeros(7, 128)} if prefix else weights, file)
    report = load_initial_weights(network, StartFrom(file=str(file), rename=table), RunFolder(tmp_path))
    assert sorted(report.taken) == sorted(network.state_dict())
    assert set(report.skipped) == {"features.38.1.weight", "features.38.1.bias"} | (
        {"classifier.weight"} if prefix else set()
    )
    frames = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(network(frames[:, None])["embedding"][:, 0], source[:-1]((frames - MEAN) / STD))


def test_names_of_the_caffe_model_cover_every_convolution():
    assert CAFFE["conv1_1.*"] == "features.0.*"
    assert CAFFE["conv3_3.*"] == "features.14.*"
    assert CAFFE["conv5_3.*"] == "features.28.*"
    assert list(CAFFE.values()) == [f"features.{n}.*" for n in CONVOLUTIONS]


def test_face_resnet_has_the_published_parameters():
    with torch.device("meta"):
        network = resnet(112, 96, width=1)
    assert isinstance(network, Backbone)
    assert count(network) - count(network.fc5) == 22_294_400
    assert count(network) + 512 * 7 + 7 == 27_541_383


def test_maps_of_the_face_resnet_at_112_by_96():
    seen = {}
    with torch.device("meta"):
        network = resnet(112, 96, width=1)
        for name in (*TAPS, "layer1", "layer2", "layer3", "layer4", "fc5"):
            getattr(network, name).register_forward_hook(
                lambda _, __, out, name=name: seen.update({name: tuple(out.shape[1:])})
            )
        features = network(torch.zeros(2, 3, 3, 112, 96))
    assert seen == {
        "conv1_a": (32, 110, 94),
        "conv1_b": (64, 108, 92),
        "layer1": (64, 54, 46),
        "conv2": (128, 52, 44),
        "layer2": (128, 26, 22),
        "conv3": (256, 24, 20),
        "layer3": (256, 12, 10),
        "conv4": (512, 10, 8),
        "layer4": (512, 5, 4),
        "fc5": (512,),
    }
    shapes = {name: tuple(value.shape) for name, value in features.items()}
    assert shapes == {"embedding": (2, 3, 512), "p1": (2, 3, 64, 54, 46), "p3": (2, 3, 256, 12, 10)}
    assert (math.prod(shapes["p1"][2:]), math.prod(shapes["p3"][2:])) == (158_976, 30_720)
    assert [len(getattr(network, f"layer{n}")) for n in (1, 2, 3, 4)] == [1, 2, 5, 3]


@pytest.mark.parametrize("training", [True, False])
def test_face_resnet_equals_explicit_layers_and_normalises_over_all_frames(training):
    torch.manual_seed(0)
    network = resnet().train(training)
    for name, value in network.state_dict().items():
        if "bn" in name and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    frames, weights = torch.rand(2, 3, 3, 64, 48), {k: v.clone() for k, v in network.state_dict().items()}
    features = network(frames)
    expected = resnet_reference(weights, frames.flatten(0, 1), training)
    for name, value in zip(("embedding", "p1", "p3"), expected, strict=True):
        torch.testing.assert_close(features[name], value.unflatten(0, (2, 3)), atol=1e-4, rtol=1e-4)


def test_initialisation_of_the_face_resnet():
    torch.manual_seed(0)
    network = resnet(112, 96, width=0.5)
    for unit in network.layer3:
        assert unit.conv1.weight.std().item() == pytest.approx(0.01, rel=0.03)
        assert not unit.conv2.bias.any()
    for name, fans in (("conv1_b", 16 + 32), ("conv2", 32 + 64), ("conv4", 128 + 256)):
        bound = math.sqrt(6 / (fans * 9))
        weight = getattr(network, name).weight
        assert 0.98 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
        assert not getattr(network, name).bias.any()


def test_conv_dropout_acts_in_training_after_conv1_a_and_before_conv3():
    torch.manual_seed(0)
    inputs = {}
    network = resnet(width=0.25, conv_dropout=0.4)
    for name in TAPS:
        getattr(network, name).register_forward_hook(lambda _, given, __, name=name: inputs.update({name: given[0]}))
    frames = torch.rand(4, 1, 3, 64, 48)
    network(frames)
    dropped = dict(inputs)
    network.eval()(frames)
    share = {name: ((dropped[name] == 0).float().mean() - (inputs[name] == 0).float().mean()).item() for name in TAPS}
    assert {name for name, more in share.items() if more > 0.1} == {"conv1_b", "conv3"}
    assert not any(type(layer) is torch.nn.Dropout and layer.p for layer in resnet().modules())


def test_smallest_frames_of_the_face_resnet():
    assert resnet(48, 48)(torch.rand(2, 1, 3, 48, 48))["embedding"].shape == (2, 1, 16)
    with pytest.raises(PluginError, match="frames of 47 x 96 pixels are too small") as caught:
        resnet(47, 96)
    assert "48 x 48" in caught.value.do
    assert resnet(30, 30, size=(48, 48))(torch.rand(2, 1, 3, 30, 30))["embedding"].shape == (2, 1, 16)


@pytest.mark.parametrize("make", [VggFace, FaceResnet])
def test_the_shape_of_the_clips_is_needed(make):
    with pytest.raises(PluginError, match="needs the shape of the clips"):
        make(VggFaceParams() if make is VggFace else FaceResnetParams(), BuildContext())


@pytest.mark.parametrize("make", [vgg, resnet])
def test_gradients_reach_every_parameter(make):
    torch.manual_seed(0)
    network = make(64).eval()
    features = network(torch.rand(4, 2, 3, 64, 64 if make is vgg else 48))
    sum(value.square().sum() for value in features.values()).backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
