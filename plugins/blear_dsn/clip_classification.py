"""Functions common to the heads of this plugin: class target, frame-wise loss, probabilities of a clip."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from blear.contracts import BuildContext, Categories, Target
from blear.errors import PluginError


def class_target(context: BuildContext, name: str, head: str) -> Target:
    """Returns the class target of a head.

    Raises:
        PluginError: the data have no such class target.
    """
    target = context.targets.get(name)
    if target is None or target.kind != "class":
        known = ", ".join(t.name for t in context.targets.values() if t.kind == "class") or "none"
        what = f"the data have no class target {name!r}"
        raise PluginError(what, head, f"set target to one of the data's class targets ({known})")
    return target


def frame_loss(logits_BTK: Tensor, truth_B: Tensor) -> Tensor:
    """Cross-entropy of all frames' logits [B, T, K] with the class of the clip [B], averaged over frames and clips."""
    truth_BT = truth_B[:, None].expand(-1, logits_BTK.shape[1])
    return cross_entropy(logits_BTK.float().flatten(0, 1), truth_BT.flatten())


def clip_probabilities(target: Target, logits_BTK: Tensor) -> Categories:
    """Probabilities of each clip [B, 1, K]: the mean over its frames (the paper's sum has the same order)."""
    return Categories(target.classes, logits_BTK.float().softmax(dim=-1).mean(dim=1, keepdim=True))
