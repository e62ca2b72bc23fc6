"""Two training steps of each model against explicit layers, finite differences of the loss, and explicit SGD."""

import numpy as np
import pytest
import torch
from fer_references import gru_by_hand, resnet_reference, vgg_reference

from blear.contracts import Batch, BuildContext, ClipSpec, Target
from blear_fer.heads.emotion import EmotionHead
from blear_fer.heads.params import EmotionParams, MultiLevelGruParams, SequenceParams
from blear_fer.heads.sequence import MultiLevelGruHead, SequenceHead
from blear_fer.networks.face_resnet import FaceResnet
from blear_fer.networks.params import FaceResnetParams, VggFaceParams
from blear_fer.networks.vgg_face import VggFace

LR, MOMENTUM, DECAY = 0.05, 0.9, 0.01
TRUTH = [1, 2]
TARGETS = {"emotion": Target("emotion", "class", ("calm", "happy", "sad"))}


def numpy(weights, prefix):
    return {k.removeprefix(prefix): v.numpy() for k, v in weights.items() if k.startswith(prefix)}


def cross_entropy(logits_BK):
    shifted = logits_BK - logits_BK.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    return float((log_sum - shifted[range(len(TRUTH)), TRUTH]).mean())


def classified(weights, states_BTD):
    head = numpy(weights, "1.linear.")
    return states_BTD.mean(axis=1) @ head["weight"].T + head["bias"]


def backbone_part(weights):
    return {name.removeprefix("0."): value for name, value in weights.items()}


def vgg_still_loss(weights, frames_BTCHW):
    embedding = vgg_reference(backbone_part(weights), frames_BTCHW.flatten(0, 1), ("fc6", "fc7"))
    return cross_entropy(classified(weights, embedding.unflatten(0, frames_BTCHW.shape[:2]).numpy()))


def vgg_gru_loss(weights, frames_BTCHW):
    embedding = vgg_reference(backbone_part(weights), frames_BTCHW.flatten(0, 1), ("fc6",))
    clips = embedding.unflatten(0, frames_BTCHW.shape[:2]).numpy()
    states = np.stack([gru_by_hand(numpy(weights, "1."), clip, "cell.") for clip in clips])
    return cross_entropy(classified(weights, states))


def resnet_gru_loss(weights, frames_BTCHW):
    maps = resnet_reference(backbone_part(weights), frames_BTCHW.flatten(0, 1), training=True)
    fc5, p1, p3 = (m.flatten(1).unflatten(0, frames_BTCHW.shape[:2]).numpy() for m in maps)
    head = numpy(weights, "1.")
    levels = {"5": fc5, "1": p1 @ head["side1.weight"].T + head["side1.bias"]}
    levels["3"] = p3 @ head["side3.weight"].T + head["side3.bias"]
    states = sum(np.stack([gru_by_hand(head, clip, f"gru{n}.") for clip in level]) for n, level in levels.items())
    return cross_entropy(classified(weights, states))


def joined(backbone, make_head, params, frames):
    with torch.no_grad():
        features = {name: tuple(value.shape[1:]) for name, value in backbone.eval()(frames).items()}
    head = make_head(params, BuildContext(targets=TARGETS, features=features))
    return torch.nn.Sequential(backbone, head).double()


def models():
    torch.manual_seed(0)
    small, clip = torch.rand(2, 2, 3, 33, 33).double(), BuildContext(clip=ClipSpec(2, 3, 33, 33))
    square, faces = torch.rand(2, 3, 3, 48, 48).double(), BuildContext(clip=ClipSpec(3, 3, 48, 48))
    gru = SequenceParams(hidden=4, dropout=0.0)
    levels = MultiLevelGruParams(hidden=4, side=5, dropout=0.0)
    still = VggFace(VggFaceParams(width=1 / 32), clip).double()
    video = VggFace(VggFaceParams(width=1 / 32, layers="fc6"), clip).double()
    resnet = FaceResnet(FaceResnetParams(width=1 / 32), faces).double()
    return {
        # its dropout of a half is switched off
        "vgg_still": (joined(still, EmotionHead, EmotionParams(), small).eval(), vgg_still_loss, small),
        "vgg_gru": (joined(video, SequenceHead, gru, small).train(), vgg_gru_loss, small),
        "resnet_gru": (joined(resnet, MultiLevelGruHead, levels, square).train(), resnet_gru_loss, square),
    }


MODELS = models()


@pytest.mark.parametrize("name", MODELS)
def test_two_training_steps_equal_hand_computation(name):
    """In each tensor the number with the largest update moves by -lr (g + decay w), then by the momentum rule."""
    model, reference, frames = MODELS[name]
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=DECAY)
    batch = Batch(frames, frames, {"emotion": torch.tensor(TRUTH)})
    trail = []
    for _ in range(2):
        loss = model[1].loss(model(frames), batch)
        before = {k: v.detach().clone() for k, v in model.state_dict().items()}
        assert loss.item() == pytest.approx(reference(before, frames), abs=1e-6)  # the head gives float32
        optimizer.zero_grad()
        loss.backward()
        trail.append((before, {k: p.grad.clone() for k, p in model.named_parameters()}))
        optimizer.step()
    after = model.state_dict()
    checked = 0
    for parameter, gradient in trail[0][1].items():
        place = int(gradient.abs().argmax())
        slopes = [_slope(reference, weights, parameter, place, frames) for weights, _ in trail]
        values = [weights[parameter].flatten()[place].item() for weights, _ in trail]
        first = slopes[0] + DECAY * values[0]
        second = MOMENTUM * first + slopes[1] + DECAY * values[1]
        assert values[1] == pytest.approx(values[0] - LR * first, abs=1e-6), parameter
        assert after[parameter].flatten()[place].item() == pytest.approx(values[1] - LR * second, abs=2e-6), parameter
        checked += abs(slopes[0]) > 1e-4
    assert checked > 0.9 * len(trail[0][1])


def _slope(reference, weights, name, place, frames, reach=1e-7):
    """Central difference of the reference's loss, with a step too small to switch a ReLU."""
    losses = []
    for sign in (1, -1):
        moved = dict(weights)
        moved[name] = weights[name].clone()
        moved[name].view(-1)[place] += sign * reach
        losses.append(reference(moved, frames))
    return (losses[0] - losses[1]) / (2 * reach)
