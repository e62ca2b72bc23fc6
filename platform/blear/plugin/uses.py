"""Components as a job names them, and the entries of its lists of degradations: one component, or a group."""

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
"""A number, or fraction of the stage's steps -> number: in lines between two fractions, constant outside them."""


class StrictModel(BaseModel):
    """A section of the job: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Use(BaseModel):
    """A component by name; every other key is a parameter of it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    use: str = Field(description="name of the component: `plugin/component`, or `component` while that is unique")

    @property
    def params(self) -> dict[str, Any]:
        """The component's own keys."""
        return dict(self.model_extra or {})


class EntryOptions(BaseModel):
    """When an entry of a list of degradations applies, and to which samples."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)
    p: UnitInterval | dict[UnitInterval, UnitInterval] | None = Field(
        None,
        description="probability that a sample goes through this entry, or fraction of the stage's steps -> "
        "probability; a component that has a parameter `p` draws by itself",
    )
    weight: Weight | dict[UnitInterval, Weight] = Field(
        1.0, description="in `one_of`: how often the entry is chosen, or fraction of the stage's steps -> weight"
    )
    from_: UnitInterval = Field(
        0.0, alias="from", description="fraction of the stage's steps after which the entry applies"
    )
    until: UnitInterval = Field(
        1.0, description="fraction of the stage's steps up to which it applies; below 1: not in validation either"
    )

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.from_ >= self.until:
            raise ValueError(f"from {self.from_:g} until {self.until:g} is no time at all; `from` must be the smaller")
        for key, value in (("p", self.p), ("weight", self.weight)):
            if value == {}:
                raise ValueError(f"{key} names no fraction; for instance {{0: 0.1, 1: 0.5}}")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """What it says of p, weight, from and until, as in the job file; defaults are left out."""
        fields = set(EntryOptions.model_fields)
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=fields)


class DegradationUse(Use, EntryOptions):
    """A degradation."""

    def split(self, fields: Collection[str]) -> tuple[dict[str, Any], Schedule | None]:
        """The component's parameters, and the entry's own probability.

        Args:
            fields: names of the component's parameters; with `p` among them, the probability is the component's.
        """
        if "p" not in fields or self.p is None:
            return self.params, self.p
        return self.params | {"p": self.p}, None


class _EntryGroup(EntryOptions):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)
    key: ClassVar[str]

    @property
    def members(self) -> list[DegradationEntry]:
        """The entries in it."""
        return list(getattr(self, self.key))


class SequentialEntry(_EntryGroup):
    """Entries in order, as one entry."""

    key = "chain"
    chain: list[DegradationEntry] = Field(min_length=1, description="entries that are applied in order")


class OneOfEntry(_EntryGroup):
    """One entry of several, drawn for each sample by weight."""

    key = "one_of"
    one_of: list[DegradationEntry] = Field(min_length=1, description="entries, of which each sample goes through one")

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        weights = [member.weight for member in self.one_of]
        fractions = {0.0, *(at for weight in weights if isinstance(weight, dict) for at in weight)}
        empty = [at for at in sorted(fractions) if not sum(schedule_value(weight, at) for weight in weights) > 0]
        if empty:
            raise ValueError(f"at {empty[0]:g} of the steps all weights are 0; give one entry a positive weight")
        return self


class RandomOrderEntry(_EntryGroup):
    """Entries in an order that is drawn for each sample."""

    key = "any_order"
    any_order: list[DegradationEntry] = Field(
        min_length=1, max_length=16, description="entries, each applied once, in a random order for each sample"
    )


ENTRY_GROUPS: tuple[type[_EntryGroup], ...] = (SequentialEntry, OneOfEntry, RandomOrderEntry)
RESERVED_KEYS = frozenset({"use", "weight", "from", "until", *(group.key for group in ENTRY_GROUPS)})
"""Names that no parameter of a degradation can have."""


def _kind(raw: Any) -> str:
    """Tag of an entry; the tags are no keys of it, by which errors are options."""
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
"""One entry of a list of degradations."""
for _group in ENTRY_GROUPS:
    _group.model_rebuild()


def schedule_value(value: Schedule, progress: float) -> float:
    """A number of the job at a fraction of the stage's steps."""
    if not isinstance(value, Mapping):
        return value
    points = sorted(value.items())
    for (a, low), (b, high) in itertools.pairwise(points):
        if a <= progress <= b:
            return low + (high - low) * (progress - a) / (b - a)
    return points[0][1] if progress < points[0][0] else points[-1][1]


def degradations_of(entries: Iterable[DegradationEntry]) -> Iterator[DegradationUse]:
    """Every component that the entries name, those of groups included, in the order of the file."""
    for entry in entries:
        if isinstance(entry, DegradationUse):
            yield entry
        else:
            yield from degradations_of(entry.members)
