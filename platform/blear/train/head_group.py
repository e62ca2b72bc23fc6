"""Several heads of one stage as one head: a weighted sum of losses, and the targets of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blear.contracts import Batch, Decoded, Features, Metric, Target
from blear.errors import JobError
from blear.plugin.decoded_targets import target_metrics


class HeadGroup(nn.Module):
    """The heads of a stage that has `heads`. Outputs: head name -> outputs of the head.

    The parameters of a head are called `NAME.parameter`, as `scale_lr` and `no_decay` refer to them. `head_targets`:
    head name -> the targets that it decodes.

    Args:
        heads: name -> head, in the order of the job.
        weights: name -> weight of the head's loss.
        features: features of one clip, from which each head decodes its targets once to learn their names.
        targets: targets of the stage's data.
        where: path of `heads` in the job, for messages.

    Raises:
        JobError: two heads decode the same target, or a name is an attribute of the module.
    """

    def __init__(
        self,
        heads: Mapping[str, nn.Module],
        weights: Mapping[str, float],
        features: Features,
        targets: Mapping[str, Target],
        where: str,
    ) -> None:
        super().__init__()
        self._weights = dict(weights)
        self._metrics: dict[str, Sequence[Metric]] = {}
        self.head_targets: dict[str, tuple[str, ...]] = {}
        owners: dict[str, str] = {}
        for name, head in heads.items():
            try:
                self.add_module(name, head)
            except KeyError as error:
                raise JobError(f"a head cannot be called {name!r}", where, "choose another name") from error
            decoded = _decode(head, features)
            for target in decoded:
                if target in owners:
                    what = f"the heads {owners[target]!r} and {name!r} both decode the target {target!r}"
                    raise JobError(what, where, "give every target one head")
                owners[target] = name
            self.head_targets[name] = tuple(decoded)
            metrics = target_metrics(head, decoded, targets)
            self._metrics |= {target: metrics.get(target, ()) for target in decoded}

    def forward(self, features: Features) -> dict[str, Any]:
        """Returns the outputs of every head."""
        return {name: head(features) for name, head in self.named_children()}

    def loss(self, outputs: Mapping[str, Any], batch: Batch) -> Tensor:
        """Returns the weighted sum of the losses of all heads."""
        heads: Mapping[str, Any] = dict(self.named_children())
        losses = [self._weights[name] * heads[name].loss(output, batch) for name, output in outputs.items()]
        return torch.stack(losses).sum()

    def metrics(self) -> Mapping[str, Sequence[Metric]]:
        """Returns the metrics of every decoded target; none for images and for heads that are not evaluated."""
        return self._metrics

    def decode(self, outputs: Mapping[str, Any]) -> Mapping[str, Decoded]:
        """Returns the decoded targets of all heads."""
        heads: Mapping[str, Any] = dict(self.named_children())
        return {
            target: value for name, output in outputs.items() for target, value in heads[name].decode(output).items()
        }


@torch.no_grad()
def _decode(head: Any, features: Features) -> Mapping[str, Decoded]:
    head.eval()
    decoded: Mapping[str, Decoded] = head.decode(head(features))
    head.train()
    return decoded
