"""Caffe's weight initialisers and Euclidean loss (Caffe `filler.hpp`, `euclidean_loss_layer.cpp`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from blear_vlqr.params import Init

GAUSSIAN_STD = 0.001
"""Standard deviation of the gaussian filler of the super-resolution network."""


def xavier_(weight: Tensor) -> Tensor:
    """Fills a weight [out, in, ...] in place with uniform(-a, a), a = sqrt(3 / fan_in). PyTorch's xavier differs."""
    bound = math.sqrt(3.0 / (weight.numel() / weight.shape[0]))
    with torch.no_grad():
        return weight.uniform_(-bound, bound)


def gaussian_(weight: Tensor, std: float = GAUSSIAN_STD) -> Tensor:
    """Fills a weight in place from a normal distribution with mean 0."""
    with torch.no_grad():
        return weight.normal_(0.0, std)


def initialise_(module: nn.Conv2d | nn.Linear, init: Init) -> None:
    """Initialises a layer in place: the weight by `init`, the bias with zeros."""
    (xavier_ if init == "xavier" else gaussian_)(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def euclidean_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """Returns the sum of squared differences over all elements, divided by 2 N; N is the size of the first dimension.

    The pixels of an image are summed, not averaged; the published learning rates assume this. Computed in float32.

    Raises:
        ValueError: the shapes differ. Broadcasting would hide an error of the caller.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"shapes differ: {tuple(prediction.shape)} and {tuple(truth.shape)}")
    return (prediction.float() - truth.float()).square().sum() / (2 * prediction.shape[0])
