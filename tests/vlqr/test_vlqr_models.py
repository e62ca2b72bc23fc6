"""CNN+D, the super-resolution network and the heads: published sizes, shapes, initialisation and losses."""

import math

import pytest
import torch
from torch import nn

from blear.contracts import Backbone, Batch, BuildContext, ClipSpec, Head, Images, Target, Values
from blear.errors import PluginError
from blear.plugin.discovery import load_plugins
from blear_vlqr.backbones import Cnn5x5, Srcnn5x5, pooled_size
from blear_vlqr.heads import SuperResolution, build_arousal, build_valence
from blear_vlqr.params import Cnn5x5Params, RegressionParams, Srcnn5x5Params, SuperResolutionParams

VALENCE = Target("valence", "value", bounds=(-1, 1))


def context(size=96, channels=1, length=1, **features):
    return BuildContext(clip=ClipSpec(length, channels, size, size), targets={"valence": VALENCE}, features=features)


def parameters(*modules):
    return sum(p.numel() for m in modules for p in m.parameters())


def valence_head(dimensions=300):
    return build_valence(RegressionParams(), context(embedding=(1, dimensions)))


def sr_head(maps=256, side=20, channels=1, **params):
    return SuperResolution(SuperResolutionParams(**params), context(channels=channels, map=(1, maps, side, side)))


def test_recogniser_has_the_published_parameters():
    backbone = Cnn5x5(Cnn5x5Params(), context())
    assert isinstance(backbone, Backbone)
    layers = {name: parameters(getattr(backbone, name)) for name in ("conv1", "conv2", "conv3", "fc4")}
    assert layers == {"conv1": 1_664, "conv2": 204_928, "conv3": 819_456, "fc4": 1_920_300}
    head = valence_head()
    assert isinstance(head, Head)
    assert parameters(backbone, head) == 2_946_649
    assert set(backbone.state_dict()) == {f"{n}.{p}" for n in layers for p in ("weight", "bias")}
    assert set(head.state_dict()) == {"fc5.weight", "fc5.bias"}


def test_restorer_has_the_published_parameters_and_shares_three_layers():
    backbone, head = Srcnn5x5(Srcnn5x5Params(), context(32)), sr_head()
    assert isinstance(head, Head)
    assert parameters(backbone, head) == 1_032_449
    assert parameters(head.conv4) == 6_401
    recogniser = Cnn5x5(Cnn5x5Params(), context())
    missing, unexpected = recogniser.load_state_dict(backbone.state_dict(), strict=False)
    assert (missing, unexpected) == (["fc4.weight", "fc4.bias"], [])
    assert torch.equal(recogniser.conv3.weight, backbone.conv3.weight)


def test_sizes_of_the_recogniser_layers():
    backbone = Cnn5x5(Cnn5x5Params(width=1 / 64), context())
    seen = []
    for layer in (backbone.conv1, backbone.conv2, backbone.conv3):
        layer.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0].shape[-1], out.shape[-1])))
    backbone.fc4.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0].shape[-1], out.shape[-1])))
    backbone(torch.rand(2, 1, 1, 96, 96))
    assert seen == [(96, 92), (46, 42), (21, 17), (4 * 5 * 5, 5)]
    assert Cnn5x5(Cnn5x5Params(), context()).fc4.in_features == 6400


def test_last_pooling_rounds_up_and_sees_the_last_pixel():
    backbone = Cnn5x5(Cnn5x5Params(width=1 / 64, dropout=0), context()).eval()
    frames = torch.rand(1, 1, 1, 96, 96)
    frames_changed = frames.clone()
    frames_changed[..., 92:, 92:] += 1  # seen only by row and column 17 of conv3's map, which floor mode drops
    for layer in (backbone.conv1, backbone.conv2, backbone.conv3, backbone.fc4):
        nn.init.constant_(layer.weight, 0.1)
    change = backbone(frames_changed)["embedding"] - backbone(frames)["embedding"]
    assert (change > 1e-4).all()


@pytest.mark.parametrize(("size", "channels", "length"), [(29, 3, 1), (44, 1, 2), (48, 1, 1), (99, 1, 1)])
def test_recogniser_takes_other_clips(size, channels, length):
    backbone = Cnn5x5(Cnn5x5Params(width=0.1), context(size, channels, length))
    embedding = backbone(torch.rand(2, length, channels, size, size))["embedding"]
    assert embedding.shape == (2, length, 30)
    assert backbone.fc4.in_features == 26 * pooled_size(size) ** 2


def test_frames_of_a_clip_are_independent():
    backbone = Cnn5x5(Cnn5x5Params(width=0.1), context(48, length=3)).eval()
    clips = torch.rand(2, 3, 1, 48, 48)
    alone = torch.stack([backbone(clips[:, t : t + 1])["embedding"][:, 0] for t in range(3)], dim=1)
    torch.testing.assert_close(backbone(clips)["embedding"], alone)


def test_dropout_only_in_training():
    backbone = Cnn5x5(Cnn5x5Params(width=0.25), context(48))
    frames = torch.rand(64, 1, 1, 48, 48)
    kept = backbone.eval()(frames)["embedding"]
    dropped = backbone.train()(frames)["embedding"]
    alive = kept > 0
    assert 0.4 < (dropped[alive] == 0).float().mean() < 0.6
    survivors = alive & (dropped > 0)
    torch.testing.assert_close(dropped[survivors], 2 * kept[survivors])


@pytest.mark.parametrize(("size", "maps", "picture"), [(32, 20, 16), (96, 84, 80)])
def test_restorer_shapes(size, maps, picture):
    backbone = Srcnn5x5(Srcnn5x5Params(width=0.1, init="xavier"), context(size))
    features = backbone(torch.rand(2, 3, 1, size, size))
    assert features["map"].shape == (2, 3, 26, maps, maps)
    head = sr_head(26, maps)
    decoded = head.decode(head(features))["image"]
    assert isinstance(decoded, Images)
    assert decoded.frames_BTCHW.shape == (2, 3, 1, picture, picture)
    assert tuple(head.metrics()) == ()


def test_restorer_colour():
    assert sr_head(8, 20, channels=3)({"map": torch.rand(1, 2, 8, 20, 20)}).shape == (1, 2, 3, 16, 16)


def test_initial_weights():
    torch.manual_seed(0)
    recogniser = Cnn5x5(Cnn5x5Params(), context())
    for layer, fan_in in ((recogniser.conv1, 25), (recogniser.conv2, 1600), (recogniser.conv3, 3200)):
        bound = math.sqrt(3 / fan_in)
        assert 0.99 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
        assert not layer.bias.any()
    assert recogniser.fc4.weight.abs().max().item() == pytest.approx(math.sqrt(3 / 6400), rel=1e-3)
    assert valence_head().fc5.weight.abs().max().item() == pytest.approx(0.1, rel=0.05)
    restorer, head = Srcnn5x5(Srcnn5x5Params(), context(32)), sr_head()
    for layer in (restorer.conv1, restorer.conv2, restorer.conv3, head.conv4):
        assert layer.weight.std().item() == pytest.approx(0.001, rel=0.05)
        assert not layer.bias.any()
    assert sr_head(init="xavier").conv4.weight.abs().max().item() == pytest.approx(math.sqrt(3 / 6400), rel=1e-2)


def test_same_seed_same_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return Cnn5x5(Cnn5x5Params(width=0.1), context(48)).conv2.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def batch(clean, **targets):
    return Batch(torch.zeros(1), clean, {name: torch.tensor(value) for name, value in targets.items()})


def test_restoration_loss_sums_the_central_pixels():
    head, outputs = sr_head(), torch.zeros(2, 1, 1, 16, 16)
    clean = torch.full((2, 1, 1, 32, 32), 100.0)  # the border must not count
    clean[0, ..., 8:24, 8:24], clean[1, ..., 8:24, 8:24] = 0.5, 0.1
    expected = (256 * 0.25 + 256 * 0.01) / (2 * 2)
    assert head.loss(outputs, batch(clean)).item() == pytest.approx(expected)
    assert head.loss(outputs, batch(clean[..., 8:24, 8:24])).item() == pytest.approx(expected)
    two_frames = clean.repeat(1, 2, 1, 1, 1)
    assert head.loss(outputs.repeat(1, 2, 1, 1, 1), batch(two_frames)).item() == pytest.approx(expected)


@pytest.mark.parametrize("size", [15, 17])
def test_clean_clips_that_cannot_be_centred(size):
    with pytest.raises(PluginError, match=f"16x16 pixels cannot be centred in the clean clips of {size}x{size}"):
        sr_head().loss(torch.zeros(1, 1, 1, 16, 16), batch(torch.zeros(1, 1, 1, size, size)))


def test_regression_loss_and_decoding():
    head = valence_head(2)
    nn.init.constant_(head.fc5.weight, 1.0)
    nn.init.constant_(head.fc5.bias, 0.5)
    embedding = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[-1.0, 0.0], [0.0, 0.0]]])
    outputs = head({"embedding": embedding})
    assert outputs.tolist() == [[0.5, 2.5], [-0.5, 0.5]]
    # clip values 1.5 and 0.0: (1.0^2 + 0.25^2) / (2 * 2)
    loss = head.loss(outputs, batch(torch.zeros(1), valence=[0.5, -0.25]))
    assert loss.item() == pytest.approx((1.0 + 0.0625) / 4)
    decoded = head.decode(outputs)
    assert list(decoded) == ["valence"]
    assert isinstance(decoded["valence"], Values)
    assert decoded["valence"].values_BT.tolist() == [[1.5], [0.0]]
    assert [(m.name, m.higher_is_better) for m in head.metrics()] == [("ccc", True), ("rmse", False), ("cc", True)]


def test_joint_training_fits_brightness():
    torch.manual_seed(0)
    backbone, head = Cnn5x5(Cnn5x5Params(width=0.1, dropout=0), context(32)), valence_head(30)
    truth = torch.linspace(-0.5, 0.5, 8)
    frames = (0.5 + truth / 2).view(8, 1, 1, 1, 1).expand(8, 1, 1, 32, 32)
    weights = [*backbone.parameters(), *head.parameters()]
    data = Batch(frames, frames, {"valence": truth})
    losses = []
    for _ in range(100):
        loss = head.loss(head(backbone(frames)), data)
        losses.append(loss.item())
        with torch.no_grad():  # by hand: importing torch's optimizers would be most of this test's time
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight -= 0.05 * gradient
    assert losses[-1] < 0.1 * (truth.var(correction=0) / 2)  # ten times better than the best constant


def refusal(action, *words):
    with pytest.raises(PluginError) as caught:
        action()
    for word in words:
        assert word in str(caught.value)
    assert caught.value.do


def test_invalid_inputs_are_rejected():
    refusal(lambda: Cnn5x5(Cnn5x5Params(), context(28)), "vlqr/cnn5x5", "28x28", "29x29")
    refusal(lambda: Srcnn5x5(Srcnn5x5Params(), context(12)), "vlqr/srcnn5x5", "12x12", "13x13")
    refusal(lambda: Cnn5x5(Cnn5x5Params(), BuildContext()), "shape of the clips")
    refusal(lambda: sr_head(8, 4), "4x4")
    only_map = context(map=(1, 8, 20, 20))
    refusal(lambda: build_valence(RegressionParams(), only_map), "'embedding'", "gives: map")
    refusal(lambda: SuperResolution(SuperResolutionParams(), context(embedding=(1, 3))), "'map'", "gives: embedding")
    with_embedding = context(embedding=(1, 3))
    refusal(lambda: build_arousal(RegressionParams(), with_embedding), "vlqr/arousal", "values are: valence")
    emotions = BuildContext(targets={"valence": Target("valence", "class", ("low", "high"))})
    refusal(lambda: build_valence(RegressionParams(), emotions), "values are: none")


@pytest.mark.parametrize("name", ["cnn5x5", "srcnn5x5"])
def test_mean_and_std_are_applied_to_the_input(name: str) -> None:
    context = BuildContext(clip=ClipSpec(1, 1, 48, 48))
    registered = load_plugins().get("backbone", f"vlqr/{name}")
    plain, switched = (
        registered.build({"width": 0.1} | more, context).eval() for more in ({}, {"mean": 0.5, "std": 0.25})
    )
    switched.load_state_dict(plain.state_dict())
    frames = torch.rand(2, 1, 1, 48, 48)
    (feature,) = plain(frames)
    torch.testing.assert_close(switched(frames)[feature], plain((frames - 0.5) / 0.25)[feature])


def test_the_recogniser_sees_the_centre_of_larger_frames():
    backbone = Cnn5x5(Cnn5x5Params(width=0.05, size=48), context(size=48)).eval()
    wide = Cnn5x5(Cnn5x5Params(width=0.05, size=48), context(size=144))
    wide.load_state_dict(backbone.state_dict())  # the same shapes
    scene = torch.rand(2, 3, 1, 144, 144)
    found, expected = wide.eval()(scene)["embedding"], backbone(scene[..., 48:96, 48:96])["embedding"]
    torch.testing.assert_close(found, expected)
