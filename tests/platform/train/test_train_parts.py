"""Optimizer groups, learning rates and weight transfer: exact values on small networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from blear.errors import JobError, RunError
from blear.job.schema import Optimizer
from blear.train.optimizer import build_optimizer, gradient_norm, lr_multipliers, set_learning_rate
from blear.train.transfer import copy_weights


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"conv1": nn.Conv2d(1, 2, 3), "conv2": nn.Conv2d(2, 3, 3)})
        self.head = nn.ModuleDict({"fc5": nn.Linear(3, 1)})


SCALE = {"conv*.weight": 0.1, "conv*.bias": 0.2, "*.bias": 2.0}


def test_the_first_matching_pattern_gives_the_multiplier() -> None:
    assert lr_multipliers(Net(), SCALE) == {
        "backbone.conv1.weight": 0.1,
        "backbone.conv1.bias": 0.2,
        "backbone.conv2.weight": 0.1,
        "backbone.conv2.bias": 0.2,
        "head.fc5.weight": 1.0,
        "head.fc5.bias": 2.0,
    }
    assert lr_multipliers(Net(), {"backbone.*": 0.0})["backbone.conv2.bias"] == 0.0


def test_a_pattern_that_matches_nothing_is_an_error_with_the_names() -> None:
    with pytest.raises(JobError, match=r"'conv9\.\*' matches no parameter") as caught:
        lr_multipliers(Net(), {"conv9.*": 0.1})
    assert "conv1.weight" in caught.value.do


def test_each_parameter_has_its_own_learning_rate() -> None:
    net = Net()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = build_optimizer(net, Optimizer(lr=0.5, momentum=0.9, scale_lr=SCALE))
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    moved = {name: float((before[name] - p.detach()).mean()) for name, p in net.named_parameters()}
    assert moved == pytest.approx({name: 0.5 * m for name, m in lr_multipliers(net, SCALE).items()}, rel=1e-5)


def test_multiplier_zero_freezes_against_weight_decay_too() -> None:
    net = Net()
    frozen = net.backbone["conv1"].weight.detach().clone()
    optimizer = build_optimizer(net, Optimizer(lr=0.5, weight_decay=0.1, scale_lr={"conv*": 0.0}))
    assert not net.backbone["conv1"].weight.requires_grad
    sum(p.sum() for p in net.parameters()).backward()
    optimizer.step()
    assert torch.equal(net.backbone["conv1"].weight, frozen)
    with pytest.raises(JobError, match="freezes every parameter"):
        build_optimizer(Net(), Optimizer(lr=0.5, scale_lr={"*": 0.0}))


def test_momentum_and_weight_decay_equal_caffe() -> None:
    """v = m v + lr (g + d w); w -= v, two steps by hand."""
    net = nn.Module()
    net.head = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.head.weight, 2.0)
    optimizer = build_optimizer(net, Optimizer(lr=0.1, momentum=0.9, weight_decay=0.5))
    weight, velocity = 2.0, 0.0
    for gradient in (1.0, -3.0):
        net.head.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        velocity = 0.9 * velocity + 0.1 * (gradient + 0.5 * weight)
        weight -= velocity
    assert net.head.weight.item() == pytest.approx(weight, rel=1e-6)


def test_adamw_has_decoupled_weight_decay_and_multipliers() -> None:
    """The first step of Adam has the size of the learning rate for any gradient; weight decay adds lr * d * w."""
    net = Net()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 2.0)
    optimizer = build_optimizer(net, Optimizer(use="adamw", lr=0.1, weight_decay=0.5, scale_lr=SCALE))
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    optimizer.step()
    for name, scale in lr_multipliers(net, SCALE).items():
        expected = 2.0 - 0.1 * scale * (1 + 0.5 * 2.0)
        assert net.get_parameter(name).detach().mean().item() == pytest.approx(expected, rel=1e-5), name


def test_the_learning_rate_of_each_group_has_its_multiplier() -> None:
    optimizer = build_optimizer(Net(), Optimizer(lr=0.2, scale_lr=SCALE))
    set_learning_rate(optimizer, 0.05)
    assert {g["scale"]: g["lr"] for g in optimizer.param_groups} == pytest.approx(
        {m: m * 0.05 for m in (0.1, 0.2, 1.0, 2.0)}
    )


def test_the_gradient_norm_is_that_of_all_parameters_together() -> None:
    net = Net()
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    net.head["fc5"].bias.grad = None
    count = sum(p.numel() for p in net.parameters()) - 1
    assert float(gradient_norm(net.parameters())) == pytest.approx(2 * math.sqrt(count), rel=1e-6)


def test_weights_are_copied_by_name_and_shape_and_the_rest_is_reported() -> None:
    own = Net().backbone
    start = own["conv2"].bias.detach().clone()
    weights = {
        "conv1.weight": torch.full((2, 1, 3, 3), 7.0),
        "conv1.bias": torch.full((2,), 8.0),
        "conv2.weight": torch.zeros(3, 2, 5, 5),
        "conv4.weight": torch.zeros(1),
        "fc.weight": torch.zeros(1),
    }
    report = copy_weights(own, weights, ["conv1", "conv*.weight"], "sr")
    assert report.taken == ["conv1.weight", "conv1.bias"]
    assert float(own["conv1"].weight.detach().mean()) == 7.0
    assert torch.equal(own["conv2"].bias, start)
    assert report.skipped == {
        "conv2.weight": "shape (3, 2, 5, 5), here (3, 2, 3, 3)",
        "conv4.weight": "not in this backbone",
        "fc.weight": "not asked for",
        "conv2.bias": "initialised: not in the source",
    }
    with pytest.raises(RunError, match="'conv7' took no weights"):
        copy_weights(own, weights, ["conv1", "conv7"], "sr")
