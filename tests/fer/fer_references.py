"""Explicit reference implementations of the published networks and cells."""

import numpy as np
import torch
from torch.nn.functional import batch_norm, conv2d, linear, max_pool2d, relu

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
POOL_AFTER = {2, 7, 14, 21, 28}
MEAN, STD = 0.507395516207, 0.255128989415
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def vgg_reference(weights, frames_NCHW, layers):
    """The published layers, written out, without dropout."""
    x = (frames_NCHW - MEAN) / STD
    for position in CONVOLUTIONS:
        x = relu(conv2d(x, weights[f"features.{position}.weight"], weights[f"features.{position}.bias"], padding=1))
        if position in POOL_AFTER:
            x = max_pool2d(x, 2, 2, ceil_mode=True)
    x = x.flatten(1)
    for layer in layers:
        x = relu(linear(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"]))
    return x


def resnet_reference(weights, frames_NCHW, training):
    """The published layers written out; returns fc5, P1, P3."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=frames_NCHW.dtype)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], dtype=frames_NCHW.dtype)[:, None, None]

    def valid(x, conv, bn):
        x = conv2d(x, weights[f"{conv}.weight"], weights[f"{conv}.bias"])
        if training:
            centre, spread = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
            x = (x - centre) / torch.sqrt(spread + 1e-5)
            return relu(x * weights[f"{bn}.weight"][:, None, None] + weights[f"{bn}.bias"][:, None, None])
        stats = [weights[f"{bn}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return relu(batch_norm(x, *stats))

    def units(x, layer, number):
        for n in range(number):
            inner = x
            for conv in ("conv1", "conv2"):
                name = f"{layer}.{n}.{conv}"
                inner = relu(conv2d(inner, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1))
            x = x + inner
        return x

    x = valid((frames_NCHW - mean) / std, "conv1_a", "bn1_a")
    p1 = max_pool2d(valid(x, "conv1_b", "bn1_b"), 2)
    x = units(p1, "layer1", 1)
    x = units(max_pool2d(valid(x, "conv2", "bn2"), 2), "layer2", 2)
    p3 = max_pool2d(valid(x, "conv3", "bn3"), 2)
    x = units(p3, "layer3", 5)
    x = units(max_pool2d(valid(x, "conv4", "bn4"), 2), "layer4", 3)
    return linear(x.flatten(1), weights["fc5.weight"], weights["fc5.bias"]), p1, p3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_by_hand(weights, inputs_TD, prefix=""):
    """Cho et al. 2014 with the reset gate after the recurrent product, as cuDNN and PyTorch have it."""
    w_in, w_state, b_in, b_state = (
        weights[f"{prefix}{n}_l0"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    state, states = np.zeros(w_state.shape[1]), []
    for x in inputs_TD:
        in_r, in_z, in_n = np.split(w_in @ x + b_in, 3)
        state_r, state_z, state_n = np.split(w_state @ state + b_state, 3)
        reset, update = sigmoid(in_r + state_r), sigmoid(in_z + state_z)
        new = np.tanh(in_n + reset * state_n)
        state = (1 - update) * new + update * state
        states.append(state)
    return np.stack(states)


def lstm_by_hand(weights, inputs_TD, suffix):
    w_in, w_state, b_in, b_state = (weights[f"{name}{suffix}"] for name in PARTS)
    state = memory = np.zeros(w_state.shape[1])
    states = []
    for x in inputs_TD:
        gate_in, forget, new, gate_out = np.split(w_in @ x + b_in + w_state @ state + b_state, 4)
        memory = sigmoid(forget) * memory + sigmoid(gate_in) * np.tanh(new)
        state = sigmoid(gate_out) * np.tanh(memory)
        states.append(state)
    return np.stack(states)
