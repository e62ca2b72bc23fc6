"""Base class of the heads that classify a clip: target, cross-entropy, metrics and decoding.

The target is a class, or a distribution over classes such as the votes of several annotators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blear.contracts import Batch, BuildContext, Categories, Decoded, Metric, Target
from blear.errors import PluginError
from blear.metrics import CLASSIFICATION, DISTRIBUTION
from blear_fer.heads.params import ClassifierParams


class Classifier(nn.Module):
    """Base class of the heads of this plugin. `forward` of a subclass returns float32 logits [B, K], one row per clip.

    Raises:
        PluginError: the data have no such target with classes, or the number of class weights differs from the classes.
    """

    _weights: Tensor | None

    def __init__(self, params: ClassifierParams, context: BuildContext, name: str) -> None:
        super().__init__()
        target = context.targets.get(params.target)
        if target is None or target.kind == "value":
            known = ", ".join(name for name, each in context.targets.items() if each.kind != "value") or "none"
            what = f"the data has no class target {params.target!r}"
            raise PluginError(what, name, f"set target to one of the data's class targets ({known})")
        self._target, self._classes = target.name, target.classes
        self._metrics = DISTRIBUTION if target.kind == "distribution" else CLASSIFICATION
        self._label_smoothing = params.label_smoothing
        self.register_buffer("_weights", _class_weights(params, target, context, name), persistent=False)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Weighted cross-entropy, averaged over the clips; of a distribution sum_k weight_k share_k (-log p_k).

        The sum is divided by the number of clips, not by the sum of the weights as in PyTorch: thereby the mean over
        the workers' equal parts of a batch equals the mean over the batch.
        """
        truth, weights = batch.targets[self._target], self._weights
        return cross_entropy(outputs, truth, weights, label_smoothing=self._label_smoothing, reduction="none").mean()

    def metrics(self) -> Sequence[Metric]:
        """Accuracy, balanced accuracy and macro F1; of a distribution KL divergence, accuracy and intersection."""
        return self._metrics

    def decode(self, outputs: Tensor) -> Mapping[str, Decoded]:
        """Class probabilities of each clip [B, 1, K]."""
        return {self._target: Categories(self._classes, outputs.softmax(dim=-1)[:, None, :])}


def feature_shape(context: BuildContext, feature: str, name: str) -> tuple[int, ...]:
    """Returns the shape of a feature of the backbone, without the batch dimension.

    Raises:
        PluginError: the backbone has no such feature.
    """
    shape = context.features.get(feature)
    if shape is None:
        known = ", ".join(context.features) or "none"
        what = f"the backbone gives no feature called {feature!r}"
        raise PluginError(what, name, f"choose a backbone that gives one (this one gives {known})")
    return shape


def _class_weights(params: ClassifierParams, target: Target, context: BuildContext, name: str) -> Tensor | None:
    """Returns the class weights, float32 [K]; None if all weights are 1."""
    if params.class_weights == "none":
        return None
    if isinstance(params.class_weights, list):
        if len(params.class_weights) != len(target.classes):
            what = f"{len(params.class_weights)} class weights for {len(target.classes)} classes"
            raise PluginError(what, name, f"give one for each of: {', '.join(target.classes)}")
        return torch.tensor(params.class_weights)
    if target.kind == "distribution":
        raise PluginError("a distribution has no class counts", name, "give class_weights as a list, or none")
    counts = context.counts.get(target.name)
    if counts is None:
        return None  # evaluation has no class counts and computes no loss
    # the weight of a class without samples is never used
    return torch.tensor([sum(counts) / (len(counts) * count) if count else 0.0 for count in counts])
