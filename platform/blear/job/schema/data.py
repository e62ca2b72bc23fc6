"""The `data` section of a job: named datasets, and groups of samples to draw from."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from blear.plugin.uses import DegradationEntry, Scalar, StrictModel, Use

Matrix = Annotated[
    dict[str, list[int | float | str]] | None,
    Field(description="makes one entry for each combination; `{key}` in the entry's name and values is replaced"),
]


class DatasetUse(Use):
    """A dataset."""


class DrawEntry(StrictModel):
    """Samples that are drawn together, with replacement, at a stated share."""

    share: float = Field(gt=0, le=1e9, description="how often the group is drawn, relative to all shares")
    where: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict,
        description="a class target (by class name) or a column of `meta` -> the value or values that belong; "
        "empty: every sample",
    )
    even: str | None = Field(
        None, description="a class target or a column of `meta`, one of whose values in the group is drawn first"
    )


class FallbackData(DatasetUse):
    """A dataset that needs no raw data, and what makes its samples like those it stands in for, in training."""

    draw: list[DrawEntry] | None = Field(None, description="takes the place of the stage's own `draw`; null: it stays")
    augment: list[DegradationEntry] = Field(default_factory=list, description="goes before the stage's own `augment`")
    degrade: list[DegradationEntry] = Field(default_factory=list, description="goes before the stage's own `degrade`")


class Data(DatasetUse):
    """Named data: a dataset with its raw source, and what stands in for it while there is no source."""

    source: str | None = Field(None, description="path of the raw data as its users receive it")
    shards: str | None = Field(
        None, description="folder or URL (http, https, s3, gs) of prepared shards of `use`; nothing is prepared then"
    )
    stand_in: FallbackData | None = Field(
        None, description="the dataset that is used while `source` and `shards` are null"
    )
    degrade_once: list[DegradationEntry] = Field(
        default_factory=list,
        description="degradations that act once, when shards are written, as real codecs may; the frames before them "
        "stay as clean ones, the rate as `kbps` in `meta`",
    )
    matrix: Matrix = None

    @model_validator(mode="after")
    def _written_here(self) -> Self:
        if self.shards is not None and self.degrade_once:
            raise ValueError("degrade_once acts when shards are written, but `shards` are there already; leave one out")
        return self

    @property
    def uses_fallback(self) -> bool:
        """Whether the stand-in is used."""
        return self.source is None and self.shards is None and self.stand_in is not None

    @property
    def extra(self) -> tuple[list[DegradationEntry], list[DegradationEntry]]:
        """The stand-in's own (augment, degrade) while it is used."""
        return (self.stand_in.augment, self.stand_in.degrade) if self.uses_fallback and self.stand_in else ([], [])

    def draw(self, stage: list[DrawEntry]) -> list[DrawEntry]:
        """The groups that are drawn from: the stage's, or those of the stand-in while it is used."""
        own = self.stand_in.draw if self.uses_fallback and self.stand_in else None
        return stage if own is None else own

    @property
    def chosen(self) -> tuple[str, dict[str, Any]]:
        """Component name and parameters of the dataset that is really read."""
        if self.uses_fallback and self.stand_in is not None:
            return self.stand_in.use, self.stand_in.params
        return self.use, self.params | ({} if self.source is None else {"source": self.source})
