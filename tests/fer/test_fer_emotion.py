import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

import blear_fer
from blear.contracts import Batch, BuildContext, Categories, Head, Target
from blear.errors import PluginError
from blear_fer.heads.emotion import EmotionHead
from blear_fer.heads.params import EmotionParams

CLASSES = ("calm", "happy", "sad")
CONTEXT = BuildContext(
    targets={"emotion": Target("emotion", "class", CLASSES), "valence": Target("valence", "value")},
    features={"conv": (2, 8, 4, 4), "embedding": (2, 5)},
)


def head(context=CONTEXT, **params):
    return EmotionHead(EmotionParams(**params), context)


def batch(labels):
    frames = torch.zeros(len(labels), 2, 1, 4, 4)
    return Batch(frames, frames, {"emotion": torch.tensor(labels)})


def test_logits_are_the_mean_over_frames_of_one_linear_layer():
    built = head()
    assert isinstance(built, Head)
    assert {name: tuple(p.shape) for name, p in built.named_parameters()} == {
        "linear.weight": (3, 5),
        "linear.bias": (3,),
    }
    embedding = torch.randn(4, 2, 5)
    expected = embedding.mean(1) @ built.linear.weight.T + built.linear.bias
    torch.testing.assert_close(built({"embedding": embedding}), expected)


def test_gaussian_initialisation_is_that_of_caffe():
    """10,000 weights: the standard deviation of their standard deviation is 0.7 %."""
    wide = replace(CONTEXT, features={"embedding": (2, 3_334)})
    torch.manual_seed(0)
    layer = head(wide, init="gaussian").linear
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert not layer.bias.any()
    assert head(wide).linear.weight.abs().max() <= 3_334**-0.5  # PyTorch's uniform distribution


def test_loss_equals_hand_computation_with_and_without_label_smoothing():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    norm = math.log(math.exp(2) + 2)
    plain = ((norm - 2) + math.log(3)) / 2
    assert head().loss(logits, batch([0, 1])).item() == pytest.approx(plain, abs=1e-6)
    first = 0.7 * (norm - 2) + 0.3 * (norm - 2 / 3)
    smoothed = (first + math.log(3)) / 2
    assert head(label_smoothing=0.3).loss(logits, batch([0, 1])).item() == pytest.approx(smoothed, abs=1e-6)


def test_class_weights_equal_hand_computation():
    """Logits of zero: each clip's cross-entropy is log 3, times the weight of its class."""
    logits, labels, log3 = torch.zeros(4, 3), batch([0, 0, 1, 2]), math.log(3)
    given = head(class_weights=[2, 0.5, 0]).loss(logits, labels)
    assert given.item() == pytest.approx((2 + 2 + 0.5 + 0) / 4 * log3, abs=1e-6)
    counted = replace(CONTEXT, counts={"emotion": (6, 3, 0)})
    balanced = head(counted, class_weights="balanced")
    assert balanced.loss(logits, labels).item() == pytest.approx((0.5 + 0.5 + 1 + 0) / 4 * log3, abs=1e-6)
    assert "_weights" not in balanced.state_dict()
    halves = [balanced.loss(logits[:2], batch(part)).item() for part in ([0, 0], [1, 2])]
    assert sum(halves) / 2 == pytest.approx(balanced.loss(logits, labels).item(), abs=1e-6)
    with pytest.raises(PluginError, match="2 class weights for 3 classes"):
        head(class_weights=[1, 2])


def test_a_few_training_steps_fit_the_labels():
    torch.manual_seed(0)
    built, embedding, truth = head(), torch.randn(6, 1, 5), batch([0, 1, 2, 0, 1, 2])
    optimizer = torch.optim.SGD(built.parameters(), lr=0.5)
    losses = []
    for _ in range(200):
        loss = built.loss(built({"embedding": embedding}), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_dropout_acts_in_training_only():
    built, features = head(dropout=0.9), {"embedding": torch.ones(64, 1, 5)}
    assert built(features).std(dim=0).min() > 0.01
    built.eval()
    assert torch.equal(built(features)[0], built(features)[63])


def test_decode_gives_class_probabilities_per_clip():
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]]))
    decoded = head().decode(logits)["emotion"]
    assert isinstance(decoded, Categories)
    assert decoded.classes == CLASSES
    torch.testing.assert_close(decoded.probabilities_BTK, torch.tensor([[[0.2, 0.5, 0.3]]]))
    assert [metric.name for metric in head().metrics()] == ["accuracy", "balanced_accuracy", "macro_f1"]


def test_half_precision_features_give_float32_logits():
    built = head().bfloat16()
    assert built({"embedding": torch.randn(2, 2, 5, dtype=torch.bfloat16)}).dtype == torch.float32


@pytest.mark.parametrize("target", ["mood", "valence"])
def test_a_target_that_is_no_class_of_the_data_is_rejected(target):
    with pytest.raises(PluginError, match=rf"no class target '{target}'\n.*class targets \(emotion\)"):
        head(target=target)


def test_a_backbone_without_embedding_is_rejected():
    context = BuildContext(targets=CONTEXT.targets, features={"conv": (2, 8, 4, 4)})
    with pytest.raises(PluginError, match=r"no feature called 'embedding'\n.*gives conv"):
        head(context)


def test_impossible_params_are_rejected():
    with pytest.raises(ValidationError, match="less than 1"):
        EmotionParams(dropout=1.0)


def test_plugin_names_and_described_parameters():
    slots = blear_fer.register_datasets(), blear_fer.register_backbones(), blear_fer.register_heads()
    components = [component for slot in slots for component in slot]
    datasets, networks = ["fer2013", "ferplus", "afew"], ["vgg_face", "face_resnet"]
    assert [c.name for c in components] == [*datasets, *networks, "emotion", "sequence", "multi_level_gru", "affect"]
    for component in components:
        assert all(field.description for field in component.params.model_fields.values())
        assert all(component.params(**example) for example in component.examples)
