"""Distillation of features (hints: Romero et al., "FitNets", ICLR 2015), by the distance of their directions.

Features are compared as unit vectors, so that the scales of two networks need not agree (Tung & Mori, "Similarity-
Preserving Knowledge Distillation", ICCV 2019, normalise for the same reason).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from blear.contracts import Features
from blear.errors import JobError

_EMBEDDING = "embedding"


@contextmanager
def recorded_features(model: nn.Module, *, wanted: bool = True) -> Iterator[Features]:
    """Gives a dictionary that receives the features of the backbone at each forward pass of the model.

    Args:
        model: has the module `backbone`.
        wanted: if false, the dictionary stays empty and the model has no hook.
    """
    features: Features = {}
    if not wanted:
        yield features
        return
    backbone = model.get_submodule("backbone")
    hook = backbone.register_forward_hook(lambda _module, _inputs, outputs: features.update(outputs))
    try:
        yield features
    finally:
        hook.remove()


def feature_loss(weights: Mapping[str, float], student: Features, teacher: Features, where: str) -> Tensor:
    """Returns the sum over the features of weight x mean squared distance of the unit vectors, a scalar.

    A vector is an embedding [D], or the channels [C] at a position of a feature map. The squared distance of two unit
    vectors is 2 - 2 cos of their angle: 0 to 4.

    Args:
        weights: feature name -> weight.
        student: features of the student.
        teacher: features of the teacher, of the same shapes.
        where: of the stage's option, for errors.

    Raises:
        JobError: a backbone does not have the feature, or the shapes differ.
    """
    parts = []
    for name, weight in weights.items():
        for whose, features in (("stage", student), ("teacher", teacher)):
            if name not in features:
                what = f"the backbone of the {whose} has no feature {name!r}"
                raise JobError(what, where, f"use one of: {', '.join(features)}")
        ours, theirs = student[name].float(), teacher[name].float()
        if ours.shape != theirs.shape:
            shapes = f"{list(ours.shape[1:])} in the stage, {list(theirs.shape[1:])} in the teacher"
            raise JobError(f"feature {name!r} is {shapes}", where, "choose a feature of equal shape in both")
        axis = -1 if name == _EMBEDDING else 2
        distance = (normalize(ours, dim=axis) - normalize(theirs, dim=axis)).square().sum(dim=axis)
        parts.append(weight * distance.mean())
    return torch.stack(parts).sum()
