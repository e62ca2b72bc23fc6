"""Facts about a network of others that its file does not state by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from blear.errors import RunError
from blear.imaging import Framing

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Side = Annotated[int, Field(ge=1)]


class NetworkFacts(BaseModel):
    """Labels and preprocessing of a network: metadata `blear.KEY` of its file, or given by the user."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    labels: tuple[str, ...] = Field((), description="class names in the order of the output; empty: outputs are values")
    target: str = Field("emotion", description="name of the class target")
    size: tuple[_Side, ...] = Field((), description="height and width, where the file leaves them open; one: a square")
    color: Literal["rgb", "bgr", "grey"] = Field("rgb", description="channels of the input")
    range: tuple[_Number, _Number] = Field((0.0, 1.0), description="values of black and white")
    mean: tuple[_Number, ...] = Field((), description="is subtracted from the values, for each channel")
    std: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        (), description="divides the values, for each channel"
    )
    output: Literal["auto", "probabilities", "logits"] = Field(
        "auto", description="auto: from the values of the output"
    )
    framing: dict[str, Any] | None = Field(None, description="how faces are cut out, fields of `Framing`")

    @field_validator("labels", "size", "range", "mean", "std", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if twice := next((label for label, count in Counter(labels).items() if count > 1), None):
            raise ValueError(f"two classes are called {twice!r}")
        return labels

    @field_validator("framing", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        try:
            value = json.loads(value) if isinstance(value, str) else value
        except RecursionError as error:
            raise ValueError("no JSON") from error
        if value is not None and not isinstance(value, dict):
            raise ValueError("no JSON object")
        unknown = set(value or ()) - {field.name for field in fields(Framing)}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return value


def read_facts(stored: Mapping[str, Any], given: Mapping[str, Any], where: str, flag: str) -> NetworkFacts:
    """Combines the metadata of a file with the facts that the user gives, which go first.

    Args:
        stored: fields of `NetworkFacts` from the file.
        given: fields of `NetworkFacts` from the user.
        where: the file, for messages.
        flag: option of the command that gives facts, for messages.

    Raises:
        RunError: a fact is unknown or wrong.
    """
    try:
        return NetworkFacts.model_validate({**stored, **given})
    except ValidationError as error:
        first = error.errors()[0]
        keys = ", ".join(NetworkFacts.model_fields)
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise RunError(what, where, f"give {flag} KEY=VALUE; keys: {keys}") from error
