"""What a job may set for the heads of this plugin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blear.contracts import Params

Cell = Literal["gru", "lstm", "lstm_cell"]


class ClassifierParams(Params):
    """What is learnt, and how its mistakes are weighed."""

    target: str = Field("emotion", description="Name of the class target that is learnt.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of each label spread over all classes.")
    class_weights: Literal["none", "balanced"] | list[Annotated[float, Field(ge=0)]] = Field(
        "none",
        description="Weight of each class in the loss: none, balanced (samples / (classes * samples of the class)), or "
        "one number for each class in its order.",
    )


class EmotionParams(ClassifierParams):
    """The classifier on top of an embedding."""

    dropout: float = Field(0.0, ge=0, lt=1, description="Probability that an embedding value is dropped in training.")


class RecurrentParams(ClassifierParams):
    """What recurrent heads share."""

    hidden: int = Field(128, ge=1, description="Values of a cell's state.")
    dropout: float = Field(
        0.8, ge=0, lt=1, description="Probability that an output of the cell is dropped in training, before the mean."
    )


class SequenceParams(RecurrentParams):
    """One recurrent cell over the embeddings of a clip."""

    cell: Cell = Field(
        "gru",
        description="gru, lstm, or lstm_cell: an LSTM stepped by frame, its weights named as a cell's.",
    )


class MultiLevelGruParams(RecurrentParams):
    """Recurrent cells over several levels of a network."""

    side: int = Field(512, ge=1, description="Values that each feature map is projected to.")
    pool: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="The map p1 is first averaged to this many rows and columns; 6 saves 80 of 125 million parameters. "
        "null: whole, as published.",
    )
