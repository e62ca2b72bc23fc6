"""The recurrent heads: published parameters, equations of the cells in NumPy, dropout, invalid inputs."""

import numpy as np
import pytest
import torch
from fer_references import gru_by_hand, lstm_by_hand
from pydantic import ValidationError

from blear.contracts import Batch, BuildContext, Categories, ClipSpec, Head, Target
from blear.errors import PluginError
from blear_fer.heads.emotion import EmotionHead
from blear_fer.heads.params import EmotionParams, MultiLevelGruParams, SequenceParams
from blear_fer.heads.sequence import MultiLevelGruHead, SequenceHead
from blear_fer.networks.face_resnet import FaceResnet
from blear_fer.networks.params import FaceResnetParams, VggFaceParams
from blear_fer.networks.vgg_face import VggFace

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
TARGETS = {"emotion": Target("emotion", "class", CLASSES)}
TINY = {"embedding": (4, 6), "p1": (4, 2, 5, 3), "p3": (4, 3, 2, 2)}


def context(**features):
    return BuildContext(targets=TARGETS, features=features or TINY)


def sequence(**params):
    return SequenceHead(SequenceParams(**{"hidden": 3, "dropout": 0.0} | params), context())


def multi_level(**params):
    return MultiLevelGruHead(MultiLevelGruParams(**{"hidden": 3, "side": 5, "dropout": 0.0} | params), context())


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def arrays(module):
    return {name: value.detach().double().numpy() for name, value in module.state_dict().items()}


def features(batch=2):
    generator = torch.Generator().manual_seed(3)
    return {name: torch.randn(batch, *shape, generator=generator) for name, shape in TINY.items()}


def published_vgg():
    clip = BuildContext(clip=ClipSpec(16, 3, 224, 224))
    return VggFace(VggFaceParams(layers="fc6", normalise="imagenet"), clip)


def published_resnet():
    return FaceResnet(FaceResnetParams(), BuildContext(clip=ClipSpec(16, 3, 112, 96)))


def test_published_parameters_of_vgg_and_gru():
    with torch.device("meta"):
        head = SequenceHead(SequenceParams(), context(embedding=(16, 4096)))
        assert count(published_vgg(), head) == 119_102_919
    assert isinstance(head, Head)
    assert count(head.cell) == 1_622_784
    assert (head.dropout.p, head.linear.in_features, head.linear.out_features) == (0.8, 128, 7)


def test_still_models_with_the_emotion_head():
    clip = BuildContext(clip=ClipSpec(1, 3, 224, 224))
    with torch.device("meta"):
        vgg = EmotionHead(EmotionParams(), context(embedding=(1, 4096)))
        resnet = EmotionHead(EmotionParams(), context(embedding=(1, 512)))
        assert count(VggFace(VggFaceParams(), clip), vgg) == 134_289_223
        assert count(published_resnet(), resnet) == 27_541_383


@pytest.mark.parametrize(
    ("pool", "projection", "total"), [(None, 81_396_224, 125_403_655), (6, 64 * 36 * 512 + 512, 45_187_591)]
)
def test_published_parameters_of_resnet_and_three_grus_and_of_the_lean_variant(pool, projection, total):
    shapes = {"embedding": (16, 512), "p1": (16, 64, 54, 46), "p3": (16, 256, 12, 10)}
    with torch.device("meta"):
        head = MultiLevelGruHead(MultiLevelGruParams(pool=pool), context(**shapes))
        assert count(published_resnet(), head) == total
    assert count(head.side1) == projection
    assert count(head.side3) == 30_720 * 512 + 512
    assert count(head.gru1) == count(head.gru3) == count(head.gru5) == 3 * 128 * (512 + 128 + 2)


def test_gru_equals_explicit_equations():
    head, given = sequence(), features()
    weights, out = arrays(head), head(given)
    assert out.shape == (2, 7)
    for clip in range(2):
        states = gru_by_hand(weights, given["embedding"][clip].double().numpy(), "cell.")
        expected = weights["linear.weight"] @ states.mean(axis=0) + weights["linear.bias"]
        assert out[clip].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("cell", "suffix"), [("lstm", "_l0"), ("lstm_cell", "")])
def test_lstm_equals_explicit_equations(cell, suffix):
    head, given = sequence(cell=cell), features()
    weights = {name.removeprefix("cell."): value for name, value in arrays(head).items()}
    out = head(given)
    for clip in range(2):
        states = lstm_by_hand(weights, given["embedding"][clip].double().numpy(), suffix)
        expected = weights["linear.weight"] @ states.mean(axis=0) + weights["linear.bias"]
        assert out[clip].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("pool", [None, 2])
def test_multi_level_gru_equals_explicit_equations(pool):
    head, given = multi_level(pool=pool), features()
    weights, out = arrays(head), head(given)
    for clip in range(2):
        p1 = given["p1"][clip].double().numpy()  # 5 x 3; to 2 x 2: rows 0-2 and 2-4, columns 0-1 and 1-2
        if pool is not None:
            halves = [[p1[..., a:b, c:d].mean((-2, -1)) for c, d in ((0, 2), (1, 3))] for a, b in ((0, 3), (2, 5))]
            p1 = np.moveaxis(np.array(halves), (0, 1), (-2, -1))
        maps = {"1": p1, "3": given["p3"][clip].double().numpy()}
        levels = {"5": given["embedding"][clip].double().numpy()}
        for n, value in maps.items():
            levels[n] = value.reshape(4, -1) @ weights[f"side{n}.weight"].T + weights[f"side{n}.bias"]
        states = sum(gru_by_hand(weights, level, f"gru{n}.") for n, level in levels.items())
        expected = weights["linear.weight"] @ states.mean(axis=0) + weights["linear.bias"]
        assert out[clip].tolist() == pytest.approx(expected, abs=1e-6)


def test_dropout_is_applied_per_frame_before_the_mean():
    torch.manual_seed(0)
    head = sequence(hidden=64, dropout=0.8)
    given, seen = features(50), []
    head.linear.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    head.eval()(given)
    states, _ = head.cell(given["embedding"])
    torch.testing.assert_close(seen[0], states.mean(dim=1))
    head.train()(given)
    # the mean of four frames is zero only where all four were dropped: 0.8 ** 4
    assert (seen[1] == 0).float().mean().item() == pytest.approx(0.8**4, abs=0.02)
    torch.manual_seed(4)
    kept = torch.nn.functional.dropout(torch.ones_like(states), 0.8) > 0
    torch.manual_seed(4)
    head(given)
    torch.testing.assert_close(seen[2], (states * kept * 5).mean(dim=1))


def test_three_dropout_masks_are_independent():
    torch.manual_seed(0)
    head, seen = multi_level(dropout=0.5, hidden=16), []
    head.dropout.register_forward_hook(lambda _, inputs, out: seen.append(out == 0))
    head.train()(features(20))
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize("head", [sequence(), sequence(cell="lstm_cell"), multi_level(), multi_level(pool=2)])
def test_gradients_reach_every_parameter_and_the_backbone(head):
    given = {name: value.requires_grad_() for name, value in features().items()}
    frames = torch.zeros(2, 4, 1, 2, 2)
    head.loss(head(given), Batch(frames, frames, {"emotion": torch.tensor([2, 5])})).backward()
    assert [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []
    used = TINY if isinstance(head, MultiLevelGruHead) else ["embedding"]
    assert all(given[name].grad.any() for name in used)


@pytest.mark.parametrize("head", [sequence(), multi_level()])
def test_loss_and_decoding_are_those_of_the_emotion_head(head):
    logits = torch.tensor([[0.0] * 6 + [2.0], [1.0] * 7])
    frames = torch.zeros(2, 4, 1, 2, 2)
    loss = head.loss(logits, Batch(frames, frames, {"emotion": torch.tensor([6, 0])}))
    expected = ((np.log(np.exp(2) + 6) - 2) + np.log(7)) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    decoded = head.decode(logits)["emotion"]
    assert isinstance(decoded, Categories)
    assert decoded.classes == CLASSES
    assert decoded.probabilities_BTK.shape == (2, 1, 7)
    assert decoded.probabilities_BTK[0, 0, 6].item() == pytest.approx(np.exp(2) / (np.exp(2) + 6))
    assert [metric.name for metric in head.metrics()] == ["accuracy", "balanced_accuracy", "macro_f1"]


@pytest.mark.parametrize("cell", ["gru", "lstm", "lstm_cell"])
def test_mixed_precision_gives_float32_logits(cell):
    head, given = sequence(cell=cell), features()
    exact = head(given)
    with torch.autocast("cpu", torch.bfloat16):
        out = head(given)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, exact, atol=0.05, rtol=0)


def refusal(action, *words):
    with pytest.raises(PluginError) as caught:
        action()
    for word in words:
        assert word in str(caught.value)
    assert caught.value.do


def test_invalid_inputs_are_rejected():
    only = context(embedding=(4, 6))
    refusal(lambda: MultiLevelGruHead(MultiLevelGruParams(), only), "fer/multi_level_gru", "'p1'", "gives embedding")
    refusal(lambda: SequenceHead(SequenceParams(), context(p1=(4, 2, 5, 3))), "fer/sequence", "'embedding'")
    refusal(lambda: multi_level(pool=4), "map p1 of 5 x 3 cannot be averaged to 4 x 4", "at most 3")
    refusal(lambda: sequence(target="mood"), "fer/sequence", "no class target 'mood'", "(emotion)")
    refusal(lambda: sequence(class_weights=[1.0]), "fer/sequence", "1 class weights for 7 classes")
    with pytest.raises(ValidationError, match="'gru', 'lstm' or 'lstm_cell'"):
        SequenceParams(cell="rnn")
