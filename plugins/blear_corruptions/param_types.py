"""Parameter types that several subjects share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blear.contracts import Params

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Pixels = Annotated[float, Field(ge=0, le=256)]
Per = Literal["frame", "clip"]
PER_DRAW = "Scope of one random draw: each frame has its own, or all frames of a clip share one."
PER_PATTERN = "Scope of one random pattern: each frame has its own, or all frames of a clip share one."


class StrengthParams(Params):
    """Base of parameter models whose strengths are one number, or [lowest, highest]."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name}: the lowest value, {value[0]:g}, is above the highest, {value[1]:g}")
        return self
