"""The trunks: published parameter counts and sizes, Caffe's details, frozen normalisation, the input."""

import numpy as np
import pytest
import torch
from dsn_models import build, context, parameters, shapes
from torch import nn
from torch.nn.functional import conv2d, relu
from torchvision.models import resnet50, resnet101

from blear.errors import PluginError
from blear.plugin.discovery import load_plugins
from blear.train.transfer import copy_weights
from blear.weights.rename_keys import rename_keys

MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

SIDES_OF_VGG = {
    "side6": 6_423_496,
    "side5": 3_278_895,
    "side4": 1_644_555,
    "side3": 843_016,
    "side2": 168_062,
    "side1": 413_774,
    "fuse": 351_246,
}


def trunk(name, clip=64, channels=3, **params):
    return load_plugins().get("backbone", f"dsn/{name}").build(params, context(clip, channels))


@pytest.mark.parametrize(
    ("backbone", "params", "trunk", "total"),
    [
        ("dsn/vgg", {}, 14_714_688, 27_837_732),
        ("dsn/resnet50", {}, 23_508_032, 58_716_134),
        ("dsn/resnet50", {"layers": 101}, 42_500_160, 77_708_262),
        ("dsn/resnet50", {"dilated": True}, 23_508_032, 58_717_163),
        ("dsn/resnet50", {"layers": 101, "dilated": True}, 42_500_160, 77_709_291),
    ],
)
def test_published_parameters(backbone, params, trunk, total):
    with torch.device("meta"):
        model = build(backbone, "dsn/side_outputs", backbone_params=params)
    assert parameters(model.backbone) == trunk
    assert parameters(model) == total
    if backbone == "dsn/vgg":
        assert {name: parameters(part) for name, part in model.head.named_children()} == SIDES_OF_VGG
    else:
        assert model.head.side6.classify.in_features == (196 if params.get("dilated") else 49)


def test_parameters_of_the_plain_networks_and_the_lean_one():
    with torch.device("meta"):
        dense = build("dsn/densenet121", "dsn/two_linear")
        plain = build("dsn/resnet50", "fer/emotion")
        lean = build("dsn/resnet50", "dsn/side_outputs", head_params={"reduce": 256})
    # torchvision's densenet121 has 7,978,856 with its classifier of 1024 x 1000 + 1000
    assert parameters(dense.backbone) == 7_978_856 - 1_025_000
    assert parameters(dense.head) == 1024 * 7 + 7 + 7 * 7 + 7
    assert parameters(plain) == 23_508_032 + 2048 * 7 + 7
    saved = {6: (2048, 7), 5: (1024, 5), 4: (512, 5)}
    kept = sum((c - 256) * k * k * (256 if stage > 4 else 128) for stage, (c, k) in saved.items())
    added = sum(c * 256 + 256 for c, _ in saved.values())
    assert parameters(lean) == 58_716_134 - kept + added == 31_421_158


def test_stage_sizes_of_vgg():
    with torch.device("meta"):
        found = shapes(trunk("vgg", 224)(torch.zeros(1, 2, 3, 224, 224)))
    taps = {"stage1": (64, 232), "stage2": (128, 116), "stage3": (256, 58), "stage4": (512, 29), "stage5": (512, 15)}
    taps |= {"stage6": (512, 8), "input": (3, 224)}
    assert found == {name: (2, c, n, n) for name, (c, n) in taps.items()} | {"embedding": (2, 512)}


def test_poolings_of_densenet_round_up_as_in_caffe():
    with torch.device("meta"):
        backbone = trunk("densenet121", 224, ceil_mode=True)
        found = []
        for name, module in backbone.features.named_children():
            if name in ("pool0", "transition1", "transition2", "transition3"):
                module.register_forward_hook(lambda _, __, out: found.append(out.shape[-1]))
        features = backbone(torch.zeros(1, 1, 3, 224, 224))
    assert found == [57, 29, 15, 8]
    assert features["map"].shape == (1, 1, 1024, 8, 8)


def test_padding_does_not_count_in_caffes_average_pooling_at_the_border():
    """A window that reaches over the last row is averaged over the rows that exist."""
    pool = trunk("densenet121", 32, width=1 / 16, ceil_mode=True).features.transition1.pool
    x = torch.rand(1, 1, 5, 5)
    means = [[x[0, 0, i : i + 2, j : j + 2].mean() for j in (0, 2, 4)] for i in (0, 2, 4)]
    torch.testing.assert_close(pool(x)[0, 0], torch.tensor(means))


@pytest.mark.parametrize(("dilated", "last"), [(False, 7), (True, 14)])
def test_stage_sizes_of_resnet(dilated, last):
    with torch.device("meta"):
        found = shapes(trunk("resnet50", 224, dilated=dilated)(torch.zeros(1, 2, 3, 224, 224)))
    taps = {"stage2": (64, 112), "stage3": (256, 56), "stage4": (512, 28), "stage5": (1024, 14), "stage6": (2048, last)}
    taps |= {"input": (3, 224)}
    assert found == {name: (2, c, n, n) for name, (c, n) in taps.items()} | {"embedding": (2, 2048)}


def test_names_and_channels_of_vgg_are_those_of_the_caffe_model():
    with torch.device("meta"):
        state = trunk("vgg", 224).state_dict()
    layers = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3"]
    assert list(state) == [f"conv{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    outputs = [state[f"conv{layer}.weight"].shape[0] for layer in layers]
    assert outputs == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def pooled(x_HW, kernel, stride, pad):
    """Caffe's max pooling in plain loops: sizes round up, a window starts inside the padded image."""
    size = [-(-(n + 2 * pad - kernel) // stride) + 1 for n in x_HW.shape]
    size = [s - 1 if pad and (s - 1) * stride >= n + pad else s for s, n in zip(size, x_HW.shape, strict=True)]
    out = np.empty(size)
    for i in range(size[0]):
        for j in range(size[1]):
            top, left = i * stride - pad, j * stride - pad
            out[i, j] = x_HW[max(top, 0) : top + kernel, max(left, 0) : left + kernel].max()
    return out


def test_vgg_equals_explicit_loops():
    """One channel everywhere, so that every layer is a 3x3 filter, and an odd size, so that rounding shows."""
    torch.manual_seed(1)
    backbone = trunk("vgg", 27, normalise="torchvision", width=1 / 64).eval()
    frames = torch.rand(1, 1, 3, 27, 27)
    with torch.no_grad():
        features = backbone(frames)
    weights = backbone.state_dict()
    x = (frames[0] - MEAN) / STD
    pools = {2: (2, 2, 0), 3: (2, 2, 0), 4: (2, 2, 0), 5: (3, 2, 1)}
    for stage, depth in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
        if stage in pools:
            x = torch.stack([torch.from_numpy(pooled(c.numpy(), *pools[stage])).float() for c in x[0]])[None]
        for n in range(1, depth + 1):
            padding = 5 if (stage, n) == (1, 1) else 1
            w, b = weights[f"conv{stage}_{n}.weight"], weights[f"conv{stage}_{n}.bias"]
            x = relu(conv2d(x, w, b, padding=padding))
        torch.testing.assert_close(features[f"stage{stage}"][0], x, rtol=1e-4, atol=1e-5)
    deep = np.stack([pooled(c.numpy(), 3, 2, 1) for c in x[0]])
    around = np.pad(deep, ((0, 0), (1, 1), (1, 1)))
    rows, columns = deep.shape[1:]
    means = [[around[:, i : i + 3, j : j + 3].sum((1, 2)) / 9 for j in range(columns)] for i in range(rows)]
    np.testing.assert_allclose(features["stage6"][0, 0], np.array(means).transpose(2, 0, 1), rtol=1e-4, atol=1e-5)


def caffe_names(reference, layers=50):
    """torchvision's state under the names of Caffe's ResNet, its `scale*` layers apart."""
    state = {}
    letters = dict.fromkeys((1, 2, 3, 4), "abcdef")
    for name, value in reference.state_dict().items():
        parts = name.split(".")
        if parts[0] == "fc":
            continue
        if not parts[0].startswith("layer"):
            layer = {"conv1": "conv1", "bn1": "bn_conv1"}[parts[0]]
        else:
            group, block = int(parts[0][-1]), int(parts[1])
            suffix = letters[group][block] if layers == 50 or group in (1, 4) else ("a" if block == 0 else f"b{block}")
            kind = "res" if parts[2].startswith("conv") or parts[2:4] == ["downsample", "0"] else "bn"
            branch = "1" if parts[2] == "downsample" else "2" + "abc"[int(parts[2][-1]) - 1]
            layer = f"{kind}{group + 1}{suffix}_branch{branch}"
        affine = "bn" in layer and parts[-1] in ("weight", "bias")
        state[(layer.replace("bn", "scale") if affine else layer) + f".{parts[-1]}"] = value
    return state


@pytest.mark.parametrize(("layers", "dilated"), [(50, True), (101, False)])
def test_resnet_equals_torchvisions_except_for_strides_and_pooling(layers, dilated):
    torch.manual_seed(2)
    reference = (resnet50 if layers == 50 else resnet101)().eval()
    for group in (reference.layer2, reference.layer3, reference.layer4):
        group[0].conv1.stride, group[0].conv2.stride = (2, 2), (1, 1)
    if dilated:
        reference.layer4[0].conv1.stride = reference.layer4[0].downsample[0].stride = (1, 1)
        for block in reference.layer4:
            block.conv2.dilation = block.conv2.padding = (2, 2)
    reference.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):  # small scales, or many blocks without statistics overflow
            nn.init.uniform_(module.weight, 0.2, 0.4)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    ours = trunk("resnet50", 64, normalise="torchvision", layers=layers, dilated=dilated)
    given = caffe_names(reference, layers)
    assert {"conv1.weight", "scale_conv1.bias", "bn2a_branch1.running_mean", "res5c_branch2c.weight"} <= set(given)
    assert ("res4b22_branch2b.weight" in given) == (layers == 101)
    names = rename_keys(list(given), {"scale*": "bn*"})
    report = copy_weights(ours, {names[name]: value for name, value in given.items()}, ["*"], "reference")
    assert report.skipped == {}
    taken, x = {}, torch.rand(2, 3, 64, 64)
    for name in ("relu", "layer1", "layer2", "layer3", "layer4"):
        getattr(reference, name).register_forward_hook(lambda _, __, out, name=name: taken.update({name: out.clone()}))
    with torch.no_grad():
        reference((x - MEAN) / STD)
        features = ours.train()(x[:, None])  # training mode is no other: all normalisation is frozen
    for stage, name in enumerate(taken, 2):
        torch.testing.assert_close(features[f"stage{stage}"][:, 0], taken[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features["embedding"][:, 0], taken["layer4"].mean((2, 3)), rtol=1e-4, atol=1e-4)


def test_frozen_normalisation_stays_as_it_was():
    backbone = trunk("resnet50", width=1 / 16, normalise="torchvision").train()
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 53
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    learns = [p for p in backbone.parameters() if p.requires_grad]
    assert len(learns) == 53
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1e-9, momentum=0.9, weight_decay=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        backbone(torch.rand(2, 1, 3, 64, 64))["embedding"].square().mean().backward()
        optimizer.step()
    after = backbone.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert not any(norm.training for norm in norms)
    assert backbone.training
    torch.testing.assert_close(backbone(torch.ones(1, 1, 3, 64, 64)), backbone.eval()(torch.ones(1, 1, 3, 64, 64)))


def test_trained_normalisation_learns():
    backbone = trunk("resnet50", width=1 / 16, norm="trained").train()
    assert all(p.requires_grad for p in backbone.parameters())
    backbone(torch.rand(2, 1, 3, 64, 64))
    assert backbone.bn_conv1.running_mean.abs().min() > 0


def test_normalisation_is_bgr_in_0_to_255_minus_the_mean():
    backbone = trunk("vgg", 32, width=1 / 64)
    frames = torch.tensor([1.0, 0.5, 0.0]).view(1, 1, 3, 1, 1).expand(1, 1, 3, 32, 32)  # red, green, blue
    x = backbone(frames)["input"][0, 0, :, 5, 5]
    torch.testing.assert_close(x, torch.tensor([0 - 103.939, 127.5 - 116.779, 255 - 123.68]), rtol=1e-5, atol=1e-4)
    rgb = trunk("densenet121", 32, width=1 / 16, normalise="torchvision").eval()(frames)["input"][0, 0, :, 5, 5]
    expected = torch.tensor([(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0 - 0.406) / 0.225])
    torch.testing.assert_close(rgb, expected)
    other = trunk("vgg", 32, width=1 / 64, mean=(104, 117, 123))(frames)["input"][0, 0, :, 5, 5]
    torch.testing.assert_close(other, torch.tensor([-104.0, 10.5, 132.0]), rtol=1e-5, atol=1e-4)


def test_a_grey_frame_is_three_equal_channels():
    backbone = trunk("vgg", 32, channels=1, width=1 / 64).eval()
    grey = torch.rand(2, 1, 1, 32, 32)
    for name, value in backbone(grey).items():
        torch.testing.assert_close(value, backbone(grey.expand(2, 1, 3, 32, 32))[name])


@pytest.mark.parametrize("name", ["vgg", "resnet50", "densenet121"])
def test_the_centre_of_larger_frames(name):
    backbone = trunk(name, 64, width=1 / 16, size=48).eval()
    frames = torch.rand(2, 1, 3, 64, 80)
    features = backbone(frames)
    assert features["input"].shape == (2, 1, 3, 48, 48)
    for key, value in backbone(frames[..., 8:56, 16:64]).items():
        torch.testing.assert_close(features[key], value)


def test_256_is_cropped_at_16():
    backbone = trunk("vgg", 256, width=1 / 64).eval()
    frames = torch.zeros(1, 1, 3, 256, 256)
    frames[..., 16, 16] = 1
    spot = backbone(frames)["input"][0, 0, 0]
    assert spot.shape == (224, 224)
    assert spot[0, 0] > 0
    assert (spot.flatten()[1:] < 0).all()


@pytest.mark.parametrize("name", ["vgg", "resnet50", "densenet121"])
def test_frames_of_a_clip_are_independent(name):
    backbone = trunk(name, 48, width=1 / 16).eval()
    clips = torch.rand(2, 3, 3, 48, 48)
    with torch.no_grad():
        together = backbone(clips)
        for t in range(3):
            alone = backbone(clips[:, t : t + 1])
            for key, value in together.items():
                torch.testing.assert_close(value[:, t], alone[key][:, 0], rtol=1e-4, atol=1e-4)


def test_invalid_inputs_are_rejected():
    for name, smallest in (("vgg", 16), ("resnet50", 32), ("densenet121", 32)):
        with pytest.raises(PluginError, match=f"{smallest - 1}x{smallest - 1} pixels are too small") as caught:
            trunk(name, smallest - 1)
        assert f"{smallest}x{smallest}" in caught.value.do
        assert caught.value.where == f"dsn/{name}"
    with pytest.raises(PluginError, match="2 channels"):
        trunk("vgg", 64, channels=2)
