"""Parameters that describe one target of a table or of shards."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from blear.contracts import Params


def _as_text(value: Any) -> Any:
    """Converts labels and names that YAML reads as numbers to text."""
    if isinstance(value, list):
        return [str(name) if isinstance(name, int) else name for name in value]
    if isinstance(value, dict):
        return {str(label): str(name) if isinstance(name, int) else name for label, name in value.items()}
    return value


Names = Annotated[dict[str, str | None], BeforeValidator(_as_text)]
"""Label -> name; null leaves samples out."""
Classes = Annotated[dict[str, str | None] | list[str], BeforeValidator(_as_text)]
"""Class names of a job: a list in the order of the classes, or label -> name."""
Kind = Literal["class", "value", "distribution"]


def class_map(classes: Classes | None) -> dict[str, str | None] | None:
    """Returns label -> name of the class, None for a label that is left out; None: no names are given."""
    if isinstance(classes, list):
        return {name: name for name in classes}
    return None if classes is None else classes


class LabelParams(Params):
    """Kind, classes and bounds of one target."""

    kind: Kind | None = Field(
        None,
        description="class, value (regression) or distribution (shares or votes). null: numbers with a decimal point "
        "are values; text and whole numbers are classes",
    )
    classes: Classes | None = Field(
        None,
        description="a list of the class names, in the order of their numbers; or label -> name, where null leaves "
        "samples out. null: all labels that occur, sorted",
    )
    bounds: tuple[float, float] | None = Field(None, description="smallest and largest value of a regression target")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.bounds is not None and self.kind not in (None, "value"):
            raise ValueError("`bounds` are for targets of kind value")
        if self.classes is not None and self.kind == "value":
            raise ValueError("`classes` are for targets of kind class or distribution")
        if isinstance(self.classes, list) and len(set(self.classes)) < len(self.classes):
            raise ValueError("`classes` names a class twice")
        return self
