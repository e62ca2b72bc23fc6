"""Caffe's weight initialisers and Euclidean loss (Caffe `filler.hpp`, `euclidean_loss_layer.cpp`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from blear_vlqr.params import Init

GAUSSIAN_STD = 0.001
"""Deviation of the gaussian filler of the super-resolution network."""


def xavier_(weight: Tensor) -> Tensor:
    """Fills [out, in, ...] in place with uniform(-a, a), a = sqrt(3 / fan_in); not PyTorch's `xavier_uniform_`."""
    bound = math.sqrt(3.0 / (weight.numel() / weight.shape[0]))
    with torch.no_grad():
        return weight.uniform_(-bound, bound)


def gaussian_(weight: Tensor, std: float = GAUSSIAN_STD) -> Tensor:
    """Fills in place with a normal distribution of mean 0."""
    with torch.no_grad():
        return weight.normal_(0.0, std)


def initialise_(module: nn.Conv2d | nn.Linear, init: Init) -> None:
    """Fills the weight of one layer by `init` and its bias with zeros."""
    (xavier_ if init == "xavier" else gaussian_)(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def euclidean_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """1 / (2 N) times the sum of squared differences over all elements, N = size of the first dimension; float32.

    An image's pixels are summed, not averaged: the published learning rates depend on it.

    Raises:
        ValueError: the shapes differ (broadcasting would hide a mistake).
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"shapes differ: {tuple(prediction.shape)} and {tuple(truth.shape)}")
    return (prediction.float() - truth.float()).square().sum() / (2 * prediction.shape[0])
