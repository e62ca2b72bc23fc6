"""Parameters of `own_data/folders`, and the size of clips."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from blear_own_data.folder_layout import LEVELS
from blear_own_data.label_params import Classes, class_map
from blear_own_data.split_params import ClipParams, Side, SplitParams


class SizedParams(ClipParams):
    """Size of the clips, which the reader must be told."""

    size: Side | tuple[Side, Side] = Field(96, description="height and width in pixels, one number for both")

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


class FoldersParams(SplitParams, SizedParams):
    """Parameters of `own_data/folders`."""

    source: Path = Field(description="folder of `CLASS/...` or `SPLIT/CLASS/...`, with pictures or videos at any depth")
    layout: str | None = Field(
        None,
        description="meaning of the folders below `source`, for instance `class/subject` or `*/split/class`, of split, "
        "class, subject, video and `*` (any); null: found out from the names",
    )
    classes: Classes | None = Field(
        None,
        description="class folder -> name, in the order of the classes: `{0: angry, 1: happy}`; the same name for two "
        "folders joins them, null leaves one out; or a list of the folders. null: all folders, sorted",
    )
    target: str = Field("emotion", pattern=r"^[A-Za-z]\w*$", description="name of the target")
    subject: str | None = Field(
        None,
        description="regular expression that finds the subject in the path below `source`, for instance `(S\\d+)_`; "
        "a subject is never in two drawn splits, and intervals cluster by it",
    )
    video: str | None = Field(None, description="the same for the recording to which a picture belongs")
    max_broken: int = Field(
        0, ge=0, description="how many damaged files of a part of 1000 pictures or 50 videos may be left out"
    )

    @property
    def class_map(self) -> dict[str, str | None] | None:
        """Label -> name of the class; None: no names are given."""
        return class_map(self.classes)

    @field_validator("layout")
    @classmethod
    def _known_levels(cls, value: str | None) -> str | None:
        levels = [] if value is None else value.split("/")
        if unknown := [level for level in levels if level not in LEVELS]:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(LEVELS)}")
        if value is not None and levels.count("class") != 1:
            raise ValueError("`class` must come once")
        return value

    @field_validator("subject", "video")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _names_twice(self) -> Self:
        if isinstance(self.classes, list) and len(set(self.classes)) < len(self.classes):
            raise ValueError("`classes` names a class twice")
        return self
