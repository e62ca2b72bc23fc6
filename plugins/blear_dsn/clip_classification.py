"""What the heads of this plugin share: frame-wise logits, their loss, and a clip's probabilities."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from blear.contracts import BuildContext, Categories, Target
from blear.errors import PluginError


def class_target(context: BuildContext, name: str, head: str) -> Target:
    """The class target that a head learns.

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
    """Cross-entropy of every frame with its clip's class, the mean over frames and clips."""
    truth_BT = truth_B[:, None].expand(-1, logits_BTK.shape[1])
    return cross_entropy(logits_BTK.float().flatten(0, 1), truth_BT.flatten())


def clip_probabilities(target: Target, logits_BTK: Tensor) -> Categories:
    """One decision for each clip: the mean of its frames' probabilities, whose order is that of their sum."""
    return Categories(target.classes, logits_BTK.float().softmax(dim=-1).mean(dim=1, keepdim=True))
