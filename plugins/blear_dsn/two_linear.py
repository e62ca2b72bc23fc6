"""The classifier of the baseline DenseNet-121: two linear layers with dropout in between (spec section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from blear.contracts import Batch, BuildContext, Decoded, Features, Metric
from blear.errors import PluginError
from blear.metrics import CLASSIFICATION
from blear_dsn.clip_classification import class_target, clip_probabilities, frame_loss
from blear_dsn.params import TwoLinearParams
from blear_dsn.side_layers import initialise_

_NAME = "dsn/two_linear"
_BIAS = 0.1


class TwoLinear(nn.Module):
    """`embedding` [B, T, D] -> logits [B, T, K]: linear D to K (the paper's 1x1 convolution), dropout, linear K to K.

    Initialisation: the first layer gaussian with standard deviation 0.01, the second Caffe's xavier (uniform by fan-in)
    with bias 0.1.

    Raises:
        PluginError: the data have no such class target, or the backbone has no feature `embedding`.
    """

    def __init__(self, params: TwoLinearParams, context: BuildContext) -> None:
        super().__init__()
        self._target = class_target(context, params.target, _NAME)
        if "embedding" not in context.features:
            given = ", ".join(context.features) or "none"
            what = f"needs the feature 'embedding'; the backbone gives: {given}"
            raise PluginError(what, _NAME, "use the backbone dsn/densenet121")
        classes = len(self._target.classes)
        self.first = nn.Linear(context.features["embedding"][-1], classes)
        self.dropout = nn.Dropout(params.dropout)
        self.second = nn.Linear(classes, classes)
        initialise_(self.first, "gaussian")
        initialise_(self.second, "xavier")
        nn.init.constant_(self.second.bias, _BIAS)

    def forward(self, features: Features) -> Tensor:
        """Logits [B, T, K]."""
        return self.second(self.dropout(self.first(features["embedding"])))

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, averaged over frames and clips."""
        return frame_loss(outputs, batch.targets[self._target.name])

    def metrics(self) -> Sequence[Metric]:
        """Accuracy first, then balanced accuracy and macro F1."""
        return CLASSIFICATION

    def decode(self, outputs: Tensor) -> Mapping[str, Decoded]:
        """Probabilities of each clip: the mean over its frames."""
        return {self._target.name: clip_probabilities(self._target, outputs)}
