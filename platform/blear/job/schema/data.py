"""The `data` section of a job, and the groups of samples that stages draw from."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from blear.plugin.uses import DegradationEntry, Scalar, StrictModel, Use

Matrix = Annotated[
    dict[str, list[int | float | str]] | None,
    Field(
        description="key -> values; the entry is repeated for each combination, with `{key}` in its name and values "
        "replaced"
    ),
]


class DatasetUse(Use):
    """A dataset."""


class DrawEntry(StrictModel):
    """A group of samples, and how often training draws from it (with replacement)."""

    share: float = Field(
        gt=0, le=1e9, description="probability of drawing from the group, relative to the sum of all shares"
    )
    where: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict,
        description="conditions on the samples of the group: class target (by class name) or key of `meta` -> value or "
        "list of "
        "values; empty: all samples",
    )
    even: str | None = Field(
        None,
        description="class target or key of `meta` to balance: one of its values is drawn first, then a sample with "
        "that value",
    )


class FallbackData(DatasetUse):
    """A dataset that is used instead while the raw data is missing, and options that make its samples similar."""

    draw: list[DrawEntry] | None = Field(
        None, description="replaces the stage's `draw`; null: the stage's `draw` is used"
    )
    augment: list[DegradationEntry] = Field(default_factory=list, description="applied before the stage's `augment`")
    degrade: list[DegradationEntry] = Field(default_factory=list, description="applied before the stage's `degrade`")


class Data(DatasetUse):
    """One entry of `data`: a dataset with its raw data or its prepared shards, and a fallback for missing raw data."""

    source: str | None = Field(None, description="file or folder of the raw data, as it is distributed")
    shards: str | None = Field(
        None, description="folder or URL (http, https, s3, gs) of prepared shards of `use`, which replace the raw data"
    )
    stand_in: FallbackData | None = Field(
        None, description="fallback dataset, used while `source` and `shards` are null"
    )
    degrade_once: list[DegradationEntry] = Field(
        default_factory=list,
        description="degradations that are applied once, when shards are written, for instance slow codecs; the "
        "shards keep "
        "the frames before them as clean frames, and the bit rate as `kbps` in `meta`",
    )
    matrix: Matrix = None

    @model_validator(mode="after")
    def _written_here(self) -> Self:
        if self.shards is not None and self.degrade_once:
            raise ValueError(
                "degrade_once is applied when shards are written, but `shards` exist already; remove one of them"
            )
        return self

    @property
    def uses_fallback(self) -> bool:
        """Whether the fallback dataset is used."""
        return self.source is None and self.shards is None and self.stand_in is not None

    def fallback_note(self, name: str) -> str:
        """One sentence on a fallback dataset that is used, and how the data `name` are given instead."""
        return (
            f"data {name}: data.{name}.source is not given, so {self.chosen[0]} (`stand_in`) is used instead of "
            f"{self.use} (--set data.{name}.source=PATH)"
        )

    @property
    def extra(self) -> tuple[list[DegradationEntry], list[DegradationEntry]]:
        """(augment, degrade) of the fallback dataset; empty lists while it is not used."""
        return (self.stand_in.augment, self.stand_in.degrade) if self.uses_fallback and self.stand_in else ([], [])

    def draw(self, stage: list[DrawEntry]) -> list[DrawEntry]:
        """Returns the groups to draw from: those of a fallback dataset that is used and has some, else the stage's."""
        own = self.stand_in.draw if self.uses_fallback and self.stand_in else None
        return stage if own is None else own

    @property
    def chosen(self) -> tuple[str, dict[str, Any]]:
        """(component name, parameters) of the dataset that is read: `use`, or the fallback dataset."""
        if self.uses_fallback and self.stand_in is not None:
            return self.stand_in.use, self.stand_in.params
        return self.use, self.params | ({} if self.source is None else {"source": self.source})
