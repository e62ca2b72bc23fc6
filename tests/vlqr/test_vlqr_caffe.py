"""Caffe's fillers and Euclidean loss."""

import math

import pytest
import torch
from torch import nn

from blear_vlqr.caffe import euclidean_loss, gaussian_, initialise_, xavier_


def test_xavier_is_uniform_by_fan_in():
    torch.manual_seed(0)
    weight = xavier_(torch.empty(400, 3, 5, 5))
    bound = math.sqrt(3 / 75)
    assert weight.abs().max() <= bound
    # a uniform distribution: each tenth of the range holds a tenth of the weights
    shares = torch.histc(weight, 10, -bound, bound) / weight.numel()
    assert shares.sub(0.1).abs().max() < 0.01
    other = nn.init.xavier_uniform_(torch.empty(400, 3, 5, 5))
    assert other.abs().max() < 0.2 * bound


def test_gaussian():
    torch.manual_seed(0)
    weight = gaussian_(torch.empty(200, 200))
    assert weight.std() == pytest.approx(0.001, rel=0.02)
    assert abs(weight.mean()) < 2e-5
    assert gaussian_(torch.empty(200, 200), std=0.5).std() == pytest.approx(0.5, rel=0.02)


def test_layers_start_without_bias():
    for init, largest in (("xavier", math.sqrt(3 / 4)), ("gaussian", 0.01)):
        layer = nn.Linear(4, 50)
        initialise_(layer, init)
        assert 0 < layer.weight.abs().max() <= largest
        assert layer.bias.tolist() == [0.0] * 50
    initialise_(nn.Linear(4, 2, bias=False), "xavier")


def test_euclidean_loss_by_hand():
    prediction = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    loss = euclidean_loss(prediction, torch.tensor([[0.0, 0.0], [3.0, 2.0]]))
    assert loss.item() == (1 + 4 + 0 + 4) / (2 * 2)
    loss.backward()
    assert prediction.grad.tolist() == [[0.5, 1.0], [0.0, 1.0]]  # (p - y) / N


def test_euclidean_loss_is_float32_and_never_broadcasts():
    half = torch.full((1, 70_000), 1.0, dtype=torch.float16)  # the sum exceeds float16
    assert euclidean_loss(half, torch.zeros_like(half)).item() == 35_000.0
    with pytest.raises(ValueError, match=r"\(3, 1\) and \(3,\)"):
        euclidean_loss(torch.zeros(3, 1), torch.zeros(3))
