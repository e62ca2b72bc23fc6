"""What a job may set for this plugin's backbone and head; the defaults are the published values."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from blear.contracts import Params


class ResNet18Params(Params):
    """Parameters of `vtt/resnet18`."""

    shift: Literal["none", "causal_stage", "residual_bidirectional"] = Field(
        "none",
        description="none: each frame alone; causal_stage: after the first three stages a quarter of the channels "
        "comes from the frame before; residual_bidirectional: TSM's own, an eighth each way in every residual branch",
    )
    zero_fill: bool = Field(
        False, description="causal_stage: zeros instead of its own values in the shifted channels of the first frame"
    )
    classes: int | None = Field(
        None,
        ge=2,
        description="Adds the linear layer `fc` and its feature `logits`, so that `start_from` takes the classifier "
        "too, as published; null: the head has one of its own",
    )
    width: float = Field(1.0, gt=0, description="Multiplies the channels 64, 128, 256, 512")
    input: int | None = Field(
        None,
        ge=1,
        description="Central square of so many pixels that is looked at; larger frames are prepared with `room`, "
        "for augmentations to move in; null: whole frames",
    )


class TwoPartParams(Params):
    """Parameters of `vtt/two_part`."""

    target: str = Field("emotion", description="Name of the class target; `<target>.<class>` values are its soft form")
    neutral: str = Field("neutral", description="The class that the neutral part sets against all others")
    version: Literal["nov2019", "aug2019"] = Field(
        "nov2019",
        description="nov2019: sigmoid cross-entropies, the largest of the other logits against neutral; aug2019: "
        "softmax cross-entropies, the sum of the other logits",
    )
    neutral_share: float = Field(
        0.5, ge=0, le=1, description="Weight of the neutral part; the emotion part has the rest"
    )
    last: int = Field(2, ge=1, description="Frames at the end of a clip whose logits are averaged for its decision")
