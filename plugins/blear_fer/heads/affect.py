"""The affect head: one linear layer for several regression targets, such as valence and arousal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from blear.contracts import Batch, BuildContext, Decoded, Features, Metric, Values
from blear.errors import PluginError
from blear.metrics import REGRESSION
from blear_fer.heads.classifier import feature_shape
from blear_fer.heads.params import AffectParams

_NAME = "fer/affect"
_LOSSES = {"squared": mse_loss, "absolute": l1_loss}


class AffectHead(nn.Module):
    """`embedding` [B, T, D] -> values [B, N] of N targets, averaged over the frames.

    Raises:
        PluginError: the data lack one of the regression targets, or the backbone has no feature `embedding`.
    """

    def __init__(self, params: AffectParams, context: BuildContext) -> None:
        super().__init__()
        known = [name for name, target in context.targets.items() if target.kind == "value"]
        if missing := [name for name in params.targets if name not in known]:
            what = f"the data has no regression target {missing[0]!r}"
            raise PluginError(what, _NAME, f"set targets to some of the data's values ({', '.join(known) or 'none'})")
        self._targets, self._loss = params.targets, _LOSSES[params.loss]
        self.dropout = nn.Dropout(params.dropout)
        self.linear = nn.Linear(feature_shape(context, "embedding", _NAME)[-1], len(params.targets))

    def forward(self, features: Features) -> Tensor:
        """Values [B, N], float32."""
        return self.linear(self.dropout(features["embedding"])).float().mean(dim=1)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean squared or absolute error over clips and targets."""
        return self._loss(outputs, torch.stack([batch.targets[name] for name in self._targets], dim=1))

    def metrics(self) -> Sequence[Metric]:
        """CCC, RMSE and CC of every target."""
        return REGRESSION

    def decode(self, outputs: Tensor) -> Mapping[str, Decoded]:
        """Target -> values [B, 1], not clipped to the target's range."""
        return {name: Values(outputs[:, n : n + 1]) for n, name in enumerate(self._targets)}
