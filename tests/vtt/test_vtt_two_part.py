"""The two-part loss and its decision against numbers worked out by hand."""

import math

import pytest
import torch

from blear.contracts import Batch, BuildContext, Head, Target
from blear.errors import PluginError
from blear_vtt.params import TwoPartParams
from blear_vtt.two_part import TwoPart

CLASSES = ("anger", "joy", "neutral")
CLASS = Target("emotion", "class", CLASSES)
SOFT = {f"emotion.{name}": Target(f"emotion.{name}", "value", bounds=(0, 1)) for name in CLASSES}


def build(soft=False, width=4, features=None, targets=None, **params):
    known = targets or {"emotion": CLASS} | (SOFT if soft else {})
    context = BuildContext(targets=known, features=features or {"embedding": (3, width)})
    torch.manual_seed(1)
    return TwoPart(TwoPartParams(**params), context)


def batch(labels, shares=None):
    targets = {"emotion": torch.tensor(labels)}
    if shares is not None:
        targets |= {name: torch.tensor(column) for name, column in zip(SOFT, zip(*shares, strict=True), strict=True)}
    nothing = torch.zeros(len(labels), 1, 1, 1, 1)
    return Batch(nothing, nothing, targets)


def bce(z, e):
    p = 1 / (1 + math.exp(-z))
    return -(e * math.log(p) + (1 - e) * math.log(1 - p))


def mean(values):
    return sum(values) / len(values)


def test_loss_by_hand_for_one_hot_labels():
    z = [0.3, -1.2, 0.8]
    emotion = mean([bce(0.3, 0), bce(-1.2, 1), bce(0.8, 0)])
    neutral = mean([bce(0.8, 0), bce(0.3, 1)])  # the largest of the others is 0.3
    loss = build().loss(torch.tensor([[z]]), batch([1]))
    assert loss.item() == pytest.approx(0.5 * neutral + 0.5 * emotion, abs=1e-6)


def test_loss_by_hand_for_soft_labels_over_clips_and_frames():
    z = [[[0.3, -1.2, 0.8], [2.0, 0.1, -0.4]], [[-0.7, 0.6, 0.0], [0.2, 0.2, 1.5]]]
    shares = [[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]]
    emotion = mean([bce(z[b][t][k], shares[b][k]) for b in range(2) for t in range(2) for k in range(3)])
    neutral = mean(
        [
            part
            for b in range(2)
            for t in range(2)
            for part in (
                bce(z[b][t][2], shares[b][2]),
                bce(max(z[b][t][0], z[b][t][1]), shares[b][0] + shares[b][1]),
            )
        ]
    )
    loss = build(soft=True).loss(torch.tensor(z), batch([0, 2], shares))
    assert loss.item() == pytest.approx(0.5 * neutral + 0.5 * emotion, abs=1e-6)
    weighed = build(soft=True, neutral_share=0.2).loss(torch.tensor(z), batch([0, 2], shares))
    assert weighed.item() == pytest.approx(0.2 * neutral + 0.8 * emotion, abs=1e-6)


def test_loss_of_august_by_hand():
    z, shares = [0.3, -1.2, 0.8], [0.5, 0.3, 0.2]

    def log_softmax(values):
        norm = math.log(sum(math.exp(v) for v in values))
        return [v - norm for v in values]

    emotion = -sum(e * lp for e, lp in zip(shares, log_softmax(z), strict=True))
    neutral = -sum(e * lp for e, lp in zip([0.2, 0.8], log_softmax([0.8, 0.3 - 1.2]), strict=True))
    loss = build(soft=True, version="aug2019").loss(torch.tensor([[z]]), batch([0], [shares]))
    assert loss.item() == pytest.approx(0.5 * neutral + 0.5 * emotion, abs=1e-6)


def test_gradient_of_the_neutral_part_goes_to_neutral_and_the_largest_other_only():
    z = torch.tensor([[[0.3, -1.2, 0.8]]], requires_grad=True)
    build(neutral_share=1.0).loss(z, batch([1])).backward()
    sigmoid = torch.sigmoid(torch.tensor([0.3, 0.8]))
    expected = torch.tensor([(sigmoid[0] - 1) / 2, 0.0, sigmoid[1] / 2])
    torch.testing.assert_close(z.grad[0, 0], expected)


def test_one_training_step_against_gradients_in_closed_form():
    """d BCE / dz = (sigmoid(z) - e) / n, for the emotion part and for the neutral one."""
    head = build(width=2)
    embedding = torch.tensor([[[0.5, -1.0]], [[2.0, 0.25]]])
    with torch.no_grad():
        z = (embedding[:, 0] @ head.linear.weight.T + head.linear.bias).double()
    e = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]).double()
    gradient = 0.5 * (torch.sigmoid(z) - e) / 6
    for b in range(2):
        other = int(z[b, :2].argmax())
        gradient[b, 2] += 0.5 * (torch.sigmoid(z[b, 2]) - e[b, 2]) / 4
        gradient[b, other] += 0.5 * (torch.sigmoid(z[b, other]) - e[b, :2].sum()) / 4
    weight = head.linear.weight.detach().double() - 0.1 * gradient.T @ embedding[:, 0].double()
    bias = head.linear.bias.detach().double() - 0.1 * gradient.sum(0)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    head.loss(head({"embedding": embedding}), batch([0, 2])).backward()
    optimizer.step()
    torch.testing.assert_close(head.linear.weight.double(), weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(head.linear.bias.double(), bias, atol=1e-6, rtol=0)


def test_decision_is_the_softmax_of_the_mean_logits_of_the_last_two_frames():
    logits = torch.tensor([[[9.0, 0, 0], [0.0, 1, 3], [0.0, 3, 2]]])
    decoded = build().decode(logits)["emotion"]
    assert decoded.classes == CLASSES
    scores = [math.exp(v) for v in (0, 2, 2.5)]
    expected = torch.tensor([[[score / sum(scores) for score in scores]]])
    torch.testing.assert_close(decoded.probabilities_BTK, expected)
    still = build().decode(logits[:, :1])["emotion"]
    torch.testing.assert_close(still.probabilities_BTK[0, 0], torch.tensor([9.0, 0, 0]).softmax(0))
    assert isinstance(build(), Head)
    assert [metric.name for metric in build().metrics()] == ["accuracy", "balanced_accuracy", "macro_f1"]


def test_logits_of_every_frame_in_float32():
    head = build().bfloat16()
    out = head({"embedding": torch.randn(2, 3, 4, dtype=torch.bfloat16)})
    assert out.shape == (2, 3, 3)
    assert out.dtype == torch.float32


def test_logits_of_the_backbone_are_taken_as_they_are():
    head = build(features={"embedding": (3, 4), "logits": (3, 3)})
    assert list(head.parameters()) == []
    logits = torch.randn(2, 3, 3)
    assert torch.equal(head({"embedding": torch.randn(2, 3, 4), "logits": logits}), logits)
    with pytest.raises(PluginError, match=r"7 logits for 3 classes\n.*classes to 3"):
        build(features={"embedding": (3, 4), "logits": (3, 7)})


@pytest.mark.parametrize(
    ("params", "targets", "features", "words"),
    [
        ({"target": "mood"}, None, None, r"no class target 'mood'\n.*\(emotion\)"),
        ({"neutral": "calm"}, None, None, r"no class 'calm'\n.*anger, joy, neutral"),
        ({}, None, {"maps": (1, 2)}, r"no feature called 'embedding'\n.*gives maps"),
        ({}, {"emotion": CLASS, "emotion.joy": SOFT["emotion.joy"]}, None, r"but not emotion.anger, emotion.neutral"),
    ],
)
def test_what_does_not_fit_is_rejected(params, targets, features, words):
    with pytest.raises(PluginError, match=words):
        build(targets=targets, features=features, **params)
