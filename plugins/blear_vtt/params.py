"""Parameters of the backbone and the head of this plugin. Defaults are the published values."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from blear.contracts import Params


class ResNet18Params(Params):
    """Parameters of `vtt/resnet18`."""

    shift: Literal["none", "causal_stage", "residual_bidirectional"] = Field(
        "none",
        description="Temporal shift. none: frames are independent; causal_stage: after each of the first three stages "
        "a quarter of the channels comes from the previous frame; residual_bidirectional: as in TSM, an eighth of the "
        "channels from the next and an eighth from the previous frame in every residual branch",
    )
    zero_fill: bool = Field(
        False, description="causal_stage: the shifted channels of the first frame are zeros; otherwise its own values"
    )
    classes: int | None = Field(
        None,
        ge=2,
        description="Number of outputs of the linear layer `fc` and its feature `logits`: `start_from` then loads the "
        "classifier too, as published. null: no `fc`; the head has a linear layer",
    )
    width: float = Field(1.0, gt=0, description="Multiplies the channels 64, 128, 256, 512")
    input: int | None = Field(
        None,
        ge=1,
        description="Side in pixels of the central square that the network uses. Larger frames, prepared with `room`, "
        "leave space for shifts by augmentations. null: the whole frame",
    )


class TwoPartParams(Params):
    """Parameters of `vtt/two_part`."""

    target: str = Field("emotion", description="Name of the class target; its soft labels are `<target>.<class>`")
    neutral: str = Field("neutral", description="Name of the class that the neutral part separates from all others")
    version: Literal["nov2019", "aug2019"] = Field(
        "nov2019",
        description="Version of the loss. nov2019: sigmoid cross-entropies; the neutral part compares neutral with the "
        "largest other logit. aug2019: softmax cross-entropies; it compares neutral with the sum of the other logits",
    )
    neutral_share: float = Field(
        0.5, ge=0, le=1, description="Weight w of the neutral part in the loss; the emotion part has the weight 1 - w"
    )
    last: int = Field(
        2, ge=1, description="Number of frames at the end of a clip whose logits are averaged for decoding"
    )
