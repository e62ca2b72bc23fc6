"""The emotion head: a linear layer whose logits are averaged over the frames (FER-VGG-GRU, classifier of stills)."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from blear.contracts import BuildContext, Features
from blear_fer.heads.classifier import Classifier, feature_shape
from blear_fer.heads.params import EmotionParams
from blear_fer.networks.initialisation import initialise_

_NAME = "fer/emotion"


class EmotionHead(Classifier):
    """`embedding` [B, T, D] -> logits [B, K].

    Raises:
        PluginError: as `Classifier`, or the backbone has no feature `embedding`.
    """

    def __init__(self, params: EmotionParams, context: BuildContext) -> None:
        super().__init__(params, context, _NAME)
        self.dropout = nn.Dropout(params.dropout)
        self.linear = nn.Linear(feature_shape(context, "embedding", _NAME)[-1], len(self._classes))
        if params.init == "gaussian":
            initialise_(self.linear, partial(nn.init.normal_, std=0.01))

    def forward(self, features: Features) -> Tensor:
        """Logits [B, K], float32, averaged over the frames."""
        logits_BTK = self.linear(self.dropout(features["embedding"]))
        return logits_BTK.float().mean(dim=1)
