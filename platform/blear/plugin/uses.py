"""Models of the parts of a job that name components: one component, and the entries of lists of degradations."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Positive = Annotated[int, Field(gt=0)]
Scalar = str | int | float
UnitInterval = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e9)]
Schedule = float | Mapping[float, float]
"""A constant, or fraction of the stage's steps -> number, interpolated linearly and constant outside."""


class StrictModel(BaseModel):
    """A section of a job. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Use(BaseModel):
    """A component by name, as in `{use: vlqr/cnn5x5, width: 0.5}`. All other keys are its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    use: str = Field(description="name of the component: `plugin/component`, or `component` while that is unique")

    @property
    def params(self) -> dict[str, Any]:
        """The keys that are not fields of this model."""
        return dict(self.model_extra or {})


class EntryOptions(BaseModel):
    """Options of an entry of a list of degradations: when it is applied, and to which samples."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)
    p: UnitInterval | dict[UnitInterval, UnitInterval] | None = Field(
        None,
        description="probability that the entry is applied to a sample, or fraction of the stage's steps -> "
        "probability; "
        "passed to the component if the component has a parameter `p`",
    )
    weight: Weight | dict[UnitInterval, Weight] = Field(
        1.0, description="in `one_of`: relative probability of the entry, or fraction of the stage's steps -> weight"
    )
    from_: UnitInterval = Field(
        0.0, alias="from", description="fraction of the stage's steps after which the entry is applied"
    )
    until: UnitInterval = Field(
        1.0,
        description="fraction of the stage's steps until which it is applied; below 1, validation does not apply it",
    )

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.from_ >= self.until:
            raise ValueError(f"from {self.from_:g} until {self.until:g} is empty; `from` must be the smaller one")
        for key, value in (("p", self.p), ("weight", self.weight)):
            if value == {}:
                raise ValueError(f"{key} is empty; give fraction: value, for instance {{0: 0.1, 1: 0.5}}")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The options p, weight, from and until as plain data, without those at their defaults."""
        fields = set(EntryOptions.model_fields)
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=fields)


class DegradationUse(Use, EntryOptions):
    """One degradation."""

    def split(self, fields: Collection[str]) -> tuple[dict[str, Any], Schedule | None]:
        """Returns the component's parameters and the probability of the entry.

        Args:
            fields: names of the component's parameters. If `p` is one of them, it is a parameter and the entry has no
                probability.
        """
        if "p" not in fields or self.p is None:
            return self.params, self.p
        return self.params | {"p": self.p}, None


class _EntryGroup(EntryOptions):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)
    key: ClassVar[str]

    @property
    def members(self) -> list[DegradationEntry]:
        """The entries of the group."""
        return list(getattr(self, self.key))


class SequentialEntry(_EntryGroup):
    """A group of entries that are applied in order."""

    key = "chain"
    chain: list[DegradationEntry] = Field(min_length=1, description="the entries, in order")


class OneOfEntry(_EntryGroup):
    """A group of which each sample gets one entry, drawn by weight."""

    key = "one_of"
    one_of: list[DegradationEntry] = Field(
        min_length=1, description="the entries; one of them is drawn for each sample"
    )

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        weights = [member.weight for member in self.one_of]
        fractions = {0.0, *(at for weight in weights if isinstance(weight, dict) for at in weight)}
        empty = [at for at in sorted(fractions) if not sum(schedule_value(weight, at) for weight in weights) > 0]
        if empty:
            raise ValueError(
                f"at {empty[0]:g} of the steps all weights are 0; give at least one entry a positive weight"
            )
        return self


class RandomOrderEntry(_EntryGroup):
    """A group whose entries are all applied, in an order drawn for each sample."""

    key = "any_order"
    any_order: list[DegradationEntry] = Field(
        min_length=1, max_length=16, description="the entries; each is applied once, in a random order for each sample"
    )


ENTRY_GROUPS: tuple[type[_EntryGroup], ...] = (SequentialEntry, OneOfEntry, RandomOrderEntry)
_OF_NETWORK = frozenset({"use", "start_from"})
_OF_ENTRY = frozenset({"weight", "from", "until", *(group.key for group in ENTRY_GROUPS)})
RESERVED_KEYS = {
    "dataset": frozenset({"use", "shards", "stand_in", "degrade_once", "matrix", "draw", "augment", "degrade"}),
    "degradation": frozenset({"use", "over", "before", "after", "label", "group"}) | _OF_ENTRY,
    "backbone": _OF_NETWORK,
    "head": _OF_NETWORK | {"weight"},
    "locator": frozenset({"use"}),
}
"""Slot -> keys beside a component in a job, which its parameters must not have as names: they would not get them."""


def _kind(raw: Any) -> str:
    """Returns the tag of an entry. Tags differ from all keys, so that positions of errors contain no tags."""
    if isinstance(raw, BaseModel):
        return f"entry {getattr(raw, 'key', 'use')}"
    found = next((group.key for group in ENTRY_GROUPS if isinstance(raw, dict) and group.key in raw), "use")
    return f"entry {found}"


DegradationEntry = Annotated[
    Annotated[DegradationUse, Tag("entry use")]
    | Annotated[SequentialEntry, Tag("entry chain")]
    | Annotated[OneOfEntry, Tag("entry one_of")]
    | Annotated[RandomOrderEntry, Tag("entry any_order")],
    Discriminator(_kind),
]
"""One entry of a list of degradations: a component or a group."""
for _group in ENTRY_GROUPS:
    _group.model_rebuild()


def schedule_value(value: Schedule, progress: float) -> float:
    """Returns the value of a schedule at a fraction of the stage's steps."""
    if not isinstance(value, Mapping):
        return value
    points = sorted(value.items())
    for (a, low), (b, high) in itertools.pairwise(points):
        if a <= progress <= b:
            return low + (high - low) * (progress - a) / (b - a)
    return points[0][1] if progress < points[0][0] else points[-1][1]


def degradations_of(entries: Iterable[DegradationEntry]) -> Iterator[DegradationUse]:
    """Iterates over the degradations of a list, those inside groups included, in the order of the file."""
    for entry in entries:
        if isinstance(entry, DegradationUse):
            yield entry
        else:
            yield from degradations_of(entry.members)
