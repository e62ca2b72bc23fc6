"""The emotion head: one linear layer, its logits averaged over the clip (FER-VGG-GRU, the still model's classifier)."""

from __future__ import annotations

from torch import Tensor, nn

from blear.contracts import BuildContext, Features
from blear_fer.heads.classifier import Classifier, feature_shape
from blear_fer.heads.params import EmotionParams

_NAME = "fer/emotion"


class EmotionHead(Classifier):
    """Logits [B, K] from `embedding` [B, T, D]; weights start as PyTorch's linear layers do.

    Raises:
        PluginError: the data has no such class target, the backbone gives no embedding, or the class weights do not
            fit the classes.
    """

    def __init__(self, params: EmotionParams, context: BuildContext) -> None:
        super().__init__(params, context, _NAME)
        self.dropout = nn.Dropout(params.dropout)
        self.linear = nn.Linear(feature_shape(context, "embedding", _NAME)[-1], len(self._classes))

    def forward(self, features: Features) -> Tensor:
        """Logits [B, K], float32: the mean over the frames."""
        logits_BTK = self.linear(self.dropout(features["embedding"]))
        return logits_BTK.float().mean(dim=1)
