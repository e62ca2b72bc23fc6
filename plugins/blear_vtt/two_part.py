"""The two-part head: a loss for neutral or not, and a loss for the emotion (VTT, spec sections 4.1 and 5.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from blear.contracts import Batch, BuildContext, Categories, Decoded, Features, Metric, Target
from blear.errors import PluginError
from blear.metrics import CLASSIFICATION
from blear_vtt.params import TwoPartParams

_NAME = "vtt/two_part"


class TwoPart(nn.Module):
    """Logits [B, T, K]. In training every frame of a clip has the clip's label.

    The logits are the backbone's feature `logits` if it has one, otherwise a linear layer on `embedding` [B, T, D].

    The probabilities of a clip are the softmax of the mean logits of its last frames. The published score is the mean
    logit itself, of which only the maximum is used: softmax changes neither the order nor the decision.

    Raises:
        PluginError: the data have no such class target, the target has no such neutral class, soft labels of some
            classes are missing, or the backbone has neither `logits` of K classes nor `embedding`.
    """

    def __init__(self, params: TwoPartParams, context: BuildContext) -> None:
        super().__init__()
        target = context.targets.get(params.target)
        if target is None or target.kind != "class":
            known = ", ".join(name for name, each in context.targets.items() if each.kind == "class") or "none"
            what = f"the data has no class target {params.target!r}"
            raise PluginError(what, _NAME, f"set target to one of the data's class targets ({known})")
        if params.neutral not in target.classes:
            what = f"the target {target.name!r} has no class {params.neutral!r}"
            raise PluginError(what, _NAME, f"set neutral to one of: {', '.join(target.classes)}")
        self.params, self._classes = params, target.classes
        self._neutral = target.classes.index(params.neutral)
        self._soft = _soft_names(target, context.targets)
        self.linear = _linear(context, len(target.classes))

    def forward(self, features: Features) -> Tensor:
        """Logits [B, T, K], float32."""
        logits = features["logits"] if self.linear is None else self.linear(features["embedding"])
        return logits.float()

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Weighted sum of the neutral and the emotion part. Each part is a mean over clips, frames and its outputs."""
        clips, length, _ = outputs.shape
        targets = self._targets(batch)[:, None].expand(clips, length, -1).flatten(0, 1)
        logits = outputs.flatten(0, 1)
        share = self.params.neutral_share
        if self.params.version == "aug2019":
            neutral = cross_entropy(self._pair(logits, logits.sum(1)), self._pair(targets, targets.sum(1)))
            emotion = cross_entropy(logits, targets)
            return share * neutral + (1 - share) * emotion
        others = logits.masked_fill(self._is_neutral(logits), float("-inf")).amax(dim=1)
        pair = torch.stack([logits[:, self._neutral], others], dim=1)
        neutral = binary_cross_entropy_with_logits(pair, self._pair(targets, targets.sum(1)))
        return share * neutral + (1 - share) * binary_cross_entropy_with_logits(logits, targets)

    def metrics(self) -> Sequence[Metric]:
        """Accuracy first, then balanced accuracy and macro F1."""
        return CLASSIFICATION

    def decode(self, outputs: Tensor) -> Mapping[str, Decoded]:
        """Class probabilities of each clip [B, 1, K]."""
        mean_BK = outputs[:, -self.params.last :].mean(dim=1)
        return {self.params.target: Categories(self._classes, mean_BK.softmax(dim=-1)[:, None])}

    def _targets(self, batch: Batch) -> Tensor:
        """Returns the soft labels, float32 [B, K]: the share of each class."""
        if self._soft:
            return torch.stack([batch.targets[name] for name in self._soft], dim=1).float()
        return one_hot(batch.targets[self.params.target], len(self._classes)).float()

    def _pair(self, values_NK: Tensor, sums_N: Tensor) -> Tensor:
        """Returns (neutral, sum of the other classes) [N, 2]."""
        neutral_N = values_NK[:, self._neutral]
        return torch.stack([neutral_N, sums_N - neutral_N], dim=1)

    def _is_neutral(self, logits_NK: Tensor) -> Tensor:
        return torch.arange(logits_NK.shape[1], device=logits_NK.device) == self._neutral


def _linear(context: BuildContext, classes: int) -> nn.Linear | None:
    """Returns the linear layer on the embedding; None if the backbone has logits."""
    if "logits" in context.features:
        given = context.features["logits"][-1]
        if given != classes:
            what = f"the backbone gives {given} logits for {classes} classes"
            raise PluginError(what, _NAME, f"set the backbone's classes to {classes}, or leave them out")
        return None
    if "embedding" not in context.features:
        known = ", ".join(context.features) or "none"
        what = "the backbone gives no feature called 'embedding'"
        raise PluginError(what, _NAME, f"choose a backbone that gives one (this one gives {known})")
    return nn.Linear(context.features["embedding"][-1], classes)


def _soft_names(target: Target, targets: Mapping[str, Target]) -> list[str]:
    """Returns the names of the soft labels, one value target per class; empty if the data have only the class."""
    names = [f"{target.name}.{each}" for each in target.classes]
    missing = [name for name in names if name not in targets or targets[name].kind != "value"]
    if missing and len(missing) < len(names):
        what = f"the data has soft values of {target.name!r}, but not {', '.join(missing)}"
        raise PluginError(what, _NAME, "a dataset gives the share of every class or of none")
    return [] if missing else names
