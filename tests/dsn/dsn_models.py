"""Models of this plugin built as a job builds them, and a slow reference of the side outputs in numpy."""

import numpy as np
import torch
from scipy.signal import correlate2d

from blear.contracts import BuildContext, ClipSpec, Target
from blear.plugin.discovery import load_plugins
from blear.train.model import Recognizer

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
TARGETS = {"emotion": Target("emotion", "class", CLASSES)}
JOINS = {1: (5, 4, 6, 3), 2: (5, 4, 6, 3), 3: (6, 5), 4: (6, 5), 5: (), 6: ()}


def context(size=224, channels=3, length=1, features=None, **more):
    clip = ClipSpec(length, channels, size, size)
    return BuildContext(clip=clip, targets=TARGETS, features=features or {}, **more)


def shapes(features):
    return {name: tuple(value.shape[1:]) for name, value in features.items()}


def build(backbone, head, *, size=224, channels=3, backbone_params=None, head_params=None):
    """A backbone and the head that fits it."""
    catalog, given = load_plugins(), context(size, channels)
    trunk = catalog.get("backbone", backbone).build(backbone_params or {}, given)
    with torch.no_grad():
        found = shapes(trunk.eval()(torch.zeros(1, 1, channels, size, size)))
    built = catalog.get("head", head).build(head_params or {}, context(size, channels, features=found))
    return Recognizer(trunk, built).train()


def parameters(*modules):
    return sum(p.numel() for m in modules for p in m.parameters())


def convolve(x_CHW, weight, bias):
    """Correlation with same padding, stride 1."""
    rows = [sum(correlate2d(x, k, "same") for x, k in zip(x_CHW, kernel, strict=True)) for kernel in weight]
    return np.stack(rows) + bias[:, None, None]


def enlarge(map_HW, factor):
    """Every pixel deposits its bilinear tent of 2f x 2f pixels, f apart."""
    if factor == 1:
        return map_HW
    tent = np.array([1 - abs((i + 0.5) / factor - 1) for i in range(2 * factor)])
    out = np.zeros([factor * (n + 1) for n in map_HW.shape])
    for i, row in enumerate(map_HW):
        for j, value in enumerate(row):
            out[factor * i : factor * (i + 2), factor * j : factor * (j + 2)] += value * np.outer(tent, tent)
    return out


def crop(map_HW, height, width, mode="aligned"):
    top, left = (
        (n - m + 1) // 2 if mode == "aligned" else 0 for n, m in zip(map_HW.shape, (height, width), strict=True)
    )
    return map_HW[top : top + height, left : left + width]


def side_logits(weights, features, height, width, mode="aligned"):
    """Logits [K] of every output for one frame: features is stage -> [C, h, w], weights the head's state in numpy."""
    maps, logits = {}, {}
    for stage in sorted(features, reverse=True):
        w = {name.split(".", 1)[1]: value for name, value in weights.items() if name.startswith(f"side{stage}.")}
        x = features[stage]
        if "reduce.weight" in w:
            x = np.maximum(convolve(x, w["reduce.weight"], w["reduce.bias"]), 0)
        x = np.maximum(convolve(x, w["conv_a.weight"], w["conv_a.bias"]), 0)
        own = convolve(x, w["conv_b.weight"], w["conv_b.bias"])[0]
        if JOINS[stage]:
            joined = [crop(enlarge(maps[d], 2 ** (d - stage)), *own.shape, mode) for d in JOINS[stage]]
            own = sum(k * m for k, m in zip(w["mix.weight"].ravel(), [own, *joined], strict=True)) + w["mix.bias"]
        maps[stage] = own
        logits[f"stage{stage}"] = w["classify.weight"] @ own.ravel() + w["classify.bias"]
    full = [crop(enlarge(maps[s], 2 ** (s - 1)), height, width, mode) for s in sorted(maps)]
    fused = sum(k * m for k, m in zip(weights["fuse.mix.weight"].ravel(), full, strict=True)) + weights["fuse.mix.bias"]
    logits["fused"] = weights["fuse.classify.weight"] @ fused.ravel() + weights["fuse.classify.bias"]
    return logits


def cross_entropy(logits_K, label):
    return float(np.log(np.exp(logits_K).sum()) - logits_K[label])


def in_numpy(module):
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}
