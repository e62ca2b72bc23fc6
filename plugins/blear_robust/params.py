"""Parameters of the components of this plugin."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from blear.contracts import Params

Count = Annotated[int, Field(ge=1)]
Std = Annotated[float, Field(gt=0)]


class PlainResNetParams(Params):
    """Parameters of `robust/plain_resnet`. The defaults have 1.94 million parameters and 160 million
    multiply-accumulates at 48 x 48 grey pixels."""

    channels: list[Count] = Field(
        default=[32, 64, 128, 256],
        min_length=1,
        description="Channels of each stage; each stage after the first one halves rows and columns.",
    )
    blocks: list[Annotated[int, Field(ge=0)]] = Field(
        default=[0, 1, 1, 1], description="Number of residual blocks (two convolutions each) of each stage."
    )
    width: float = Field(default=1.0, gt=0, description="Multiplier of the channels.")
    mean: float | tuple[float, float, float] = Field(
        default=0.508, description="Mean that is subtracted from the frames in [0, 1]; one number, or one per channel."
    )
    std: Std | tuple[Std, Std, Std] = Field(
        default=0.255, description="Divisor of the frames after the subtraction of the mean."
    )

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if len(self.channels) != len(self.blocks):
            raise ValueError(
                f"{len(self.channels)} channels and {len(self.blocks)} blocks: give one of each for every stage"
            )
        return self
