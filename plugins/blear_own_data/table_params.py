"""Parameters of `own_data/table`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from blear_own_data.label_params import LabelParams, Names
from blear_own_data.params import SizedParams
from blear_own_data.split_params import SplitParams

_ORIGIN, _EXTENT = ("left", "top"), (("width", "right"), ("height", "bottom"))


class ColumnLabel(LabelParams):
    """A target of a table: one column, or for a distribution several."""

    column: str | None = Field(None, description="column of the labels; null: the column with the target's name")
    columns: list[str] | dict[str, str] | None = Field(
        None,
        description="a distribution: columns of votes or shares, whose names are the classes; or class -> column",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.columns is not None and (self.column is not None or self.classes is not None):
            raise ValueError("`columns` stand for `column` and `classes`")
        if self.columns is not None and (self.kind not in (None, "distribution") or len(self.columns) < 2):
            raise ValueError("`columns` are two or more, of a target of kind distribution")
        if self.kind == "distribution" and self.columns is None and not isinstance(self.classes, list):
            raise ValueError("a distribution needs `columns`, or a column of lists and `classes`")
        return self


class TableParams(SplitParams, SizedParams):
    """Parameters of `own_data/table`."""

    source: Path = Field(description="the table: csv, tsv, JSON Lines or Parquet, also csv and JSON Lines with .gz")
    root: Path | None = Field(None, description="folder to which the paths are relative; null: the folder of the table")
    path: str | None = Field(
        None, description="column of the pictures or videos; null: path, file, filename, image, picture or video"
    )
    targets: dict[str, str | ColumnLabel] = Field(
        min_length=1,
        description="target -> column, or a description: `emotion: label`, `valence: {column: v, bounds: [-1, 1]}`, "
        "`votes: {columns: [neutral, happy, sad]}`",
    )
    box: dict[Literal["left", "top", "width", "height", "right", "bottom"], str] | None = Field(
        None,
        description="columns of a face box: left, top, and width or right, height or bottom; the rest of the picture "
        "is cut away. Pixels count from 0 in the upright picture",
    )
    box_unit: Literal["pixels", "shares"] = Field(
        "pixels", description="unit of the box: pixels, or shares of the picture's width and height"
    )
    margin: float = Field(0.0, ge=0, le=5, description="margin on each side of the box, as a share of its sides")
    square: bool = Field(False, description="whether the box, with its margin, is extended to a square")
    key: str | None = Field(None, description="column of unique names of the rows; null: made from the paths")
    subject: str | None = Field(
        None, description="column of the person; never in two drawn splits, and intervals cluster by it"
    )
    video: str | None = Field(None, description="column of the recording")
    time: str | None = Field(None, description="column of the seconds from the start of the recording")
    split: str | None = Field(
        None, description="column of the split; train, training, val, dev, test and the like are understood"
    )
    splits: Names | None = Field(
        None, description="value of the column `split` -> name of the split; null leaves rows out"
    )
    max_broken: int = Field(
        0,
        ge=0,
        description="how many rows may be left out because the file is missing, and of each part of 1000 rows because "
        "it is damaged",
    )

    @model_validator(mode="after")
    def _box_complete(self) -> Self:
        if self.box is not None:
            missing = [name for name in _ORIGIN if name not in self.box]
            missing += [" or ".join(pair) for pair in _EXTENT if sum(name in self.box for name in pair) != 1]
            if missing:
                raise ValueError(f"`box` needs a column for {', '.join(missing)}")
        if self.splits is not None and self.split is None:
            raise ValueError("`splits` names the values of the column `split`, which is not given")
        return self

    def label(self, name: str) -> ColumnLabel:
        """Returns the description of one target, its column filled in."""
        given = self.targets[name]
        if isinstance(given, str):
            return ColumnLabel(column=given)
        return given if given.columns is not None else given.model_copy(update={"column": given.column or name})

    def raw_files(self) -> list[Path]:
        """The table and every file that it names."""
        from blear_own_data.table_paths import listed_files

        return [self.source, *listed_files(self)]
