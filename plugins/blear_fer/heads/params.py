"""Parameters of the heads of this plugin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blear.contracts import Params

Cell = Literal["gru", "lstm", "lstm_cell"]


class ClassifierParams(Params):
    """Parameters of all heads: target, label smoothing, class weights."""

    target: str = Field("emotion", description="Name of the target: a class, or a distribution over classes.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Label smoothing: fraction of each label that is distributed over all classes."
    )
    class_weights: Literal["none", "balanced"] | list[Annotated[float, Field(ge=0)]] = Field(
        "none",
        description="Weight of each class in the loss: none; balanced = samples / (classes * samples of the class); or "
        "a list with one number per class, in class order.",
    )


class EmotionParams(ClassifierParams):
    """Parameters of `fer/emotion`."""

    init: Literal["torch", "gaussian"] = Field(
        "torch",
        description="Initialisation of the linear layer. torch: PyTorch's default, as FER-VGG-GRU; gaussian: standard "
        "deviation 0.01 and bias 0, as DSN's new layers.",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout probability of the embedding's values in training.")


class AffectParams(Params):
    """Parameters of `fer/affect`."""

    targets: list[str] = Field(["valence", "arousal"], min_length=1, description="Names of the regression targets.")
    loss: Literal["squared", "absolute"] = Field(
        "squared", description="Error of a value in the loss, which is the mean over clips and targets."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout probability of the embedding's values in training.")


class RecurrentParams(ClassifierParams):
    """Parameters of the recurrent heads."""

    hidden: int = Field(128, ge=1, description="Size of the recurrent cell's hidden state.")
    dropout: float = Field(
        0.8,
        ge=0,
        lt=1,
        description="Dropout probability of the cell's outputs in training, before the mean over frames.",
    )


class SequenceParams(RecurrentParams):
    """Parameters of `fer/sequence`."""

    cell: Cell = Field(
        "gru",
        description="Recurrent cell: gru, lstm, or lstm_cell. lstm_cell is an LSTM with the parameter names of "
        "torch.nn.LSTMCell, applied frame by frame.",
    )


class MultiLevelGruParams(RecurrentParams):
    """Parameters of `fer/multi_level_gru`."""

    side: int = Field(512, ge=1, description="Size of the linear projection of each feature map.")
    pool: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Adaptive average pooling of the map p1 to this many rows and columns before its projection. 6 "
        "saves 80 of 125 million parameters. null: no pooling, as published.",
    )
