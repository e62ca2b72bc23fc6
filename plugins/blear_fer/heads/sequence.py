"""Recurrent heads of clips: a GRU or LSTM on the embeddings (spec 3.2), or three GRUs on three levels (spec 3.4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from blear.contracts import BuildContext, Features
from blear.errors import PluginError
from blear_fer.heads.classifier import Classifier, feature_shape
from blear_fer.heads.params import Cell, MultiLevelGruParams, SequenceParams

_SEQUENCE = "fer/sequence"
_MULTI_LEVEL = "fer/multi_level_gru"


class SequenceHead(Classifier):
    """`embedding` [B, T, D] -> logits [B, K]: recurrent cell, dropout, mean over the frames, linear layer.

    All layers have PyTorch's default initialisation. The model with `fer/vgg_face` up to fc6 and 7 classes has
    119,102,919 parameters, 1,622,784 of them in the GRU.

    Raises:
        PluginError: as `Classifier`, or the backbone has no feature `embedding`.
    """

    def __init__(self, params: SequenceParams, context: BuildContext) -> None:
        super().__init__(params, context, _SEQUENCE)
        inputs = feature_shape(context, "embedding", _SEQUENCE)[-1]
        self.cell = _cell(params.cell, inputs, params.hidden)
        self.dropout = nn.Dropout(params.dropout)
        self.linear = nn.Linear(params.hidden, len(self._classes))

    def forward(self, features: Features) -> Tensor:
        """Logits [B, K], float32."""
        states_BTD = self.dropout(_states(self.cell, features["embedding"]))
        return self.linear(states_BTD.mean(dim=1)).float()


class MultiLevelGruHead(Classifier):
    """`embedding` [B, T, D] and the maps `p1` and `p3` [B, T, C, h, w] of `fer/face_resnet` -> logits [B, K].

    A linear layer projects each map to `side` values. Each of the three inputs has its own GRU and its own dropout
    mask. The outputs of the three GRUs are summed, averaged over the frames, and classified by a linear layer. The
    model with `fer/face_resnet` at 112x96 and 7 classes has 125,403,655 parameters, 81,396,224 of them in the
    projection of `p1` (without `pool`).

    Raises:
        PluginError: as `Classifier`, or the backbone lacks one of the three features.
    """

    def __init__(self, params: MultiLevelGruParams, context: BuildContext) -> None:
        super().__init__(params, context, _MULTI_LEVEL)
        self._pool = params.pool
        channels, rows, columns = feature_shape(context, "p1", _MULTI_LEVEL)[1:]
        if params.pool is not None:
            if params.pool > min(rows, columns):
                what = f"the map p1 of {rows} x {columns} cannot be averaged to {params.pool} x {params.pool}"
                raise PluginError(what, _MULTI_LEVEL, f"set pool to at most {min(rows, columns)}")
            rows = columns = params.pool
        self.side1 = nn.Linear(channels * rows * columns, params.side)
        self.side3 = nn.Linear(math.prod(feature_shape(context, "p3", _MULTI_LEVEL)[1:]), params.side)
        self.gru1 = nn.GRU(params.side, params.hidden, batch_first=True)
        self.gru3 = nn.GRU(params.side, params.hidden, batch_first=True)
        self.gru5 = nn.GRU(feature_shape(context, "embedding", _MULTI_LEVEL)[-1], params.hidden, batch_first=True)
        self.dropout = nn.Dropout(params.dropout)
        self.linear = nn.Linear(params.hidden, len(self._classes))

    def forward(self, features: Features) -> Tensor:
        """Logits [B, K], float32."""
        p1 = features["p1"]
        if self._pool is not None:
            p1 = adaptive_avg_pool2d(p1.flatten(0, 1), self._pool).unflatten(0, p1.shape[:2])
        # each call of dropout draws its own mask
        states_BTD = self.dropout(_states(self.gru1, self.side1(p1.flatten(2))))
        states_BTD = states_BTD + self.dropout(_states(self.gru3, self.side3(features["p3"].flatten(2))))
        states_BTD = states_BTD + self.dropout(_states(self.gru5, features["embedding"]))
        return self.linear(states_BTD.mean(dim=1)).float()


def _cell(kind: Cell, inputs: int, hidden: int) -> nn.Module:
    if kind == "lstm_cell":
        return nn.LSTMCell(inputs, hidden)
    return (nn.GRU if kind == "gru" else nn.LSTM)(inputs, hidden, batch_first=True)


def _states(cell: nn.Module, inputs_BTD: Tensor) -> Tensor:
    """Returns the cell's output after each frame, [B, T, hidden]. The initial state is zero."""
    if not isinstance(cell, nn.LSTMCell):
        return cell(inputs_BTD)[0]
    state: tuple[Tensor, Tensor] | None = None
    outputs = []
    for inputs_BD in inputs_BTD.unbind(dim=1):
        state = cell(inputs_BD, state)
        outputs.append(state[0])
    return torch.stack(outputs, dim=1)
