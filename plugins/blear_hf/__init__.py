"""Image and video datasets of the Hugging Face `datasets` library, local or on the hub. Needs `blear[hf]`."""

import importlib.util
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from blear.contracts import Component, Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class HfParams(Params):
    """Parameters of `hf/dataset`."""

    source: Path | None = Field(
        None, description="local folder, written by `save_to_disk` or readable by `load_dataset`; or set `hub`"
    )
    hub: str | None = Field(None, description="dataset on the hub, `owner/name`, downloaded by `blear prepare`")
    revision: str | None = Field(None, description="commit or tag on the hub; null: the newest")
    frames: str | None = Field(None, description="column of images or videos; null: the first such column")
    targets: list[str] = Field(
        [],
        description="target columns: classes, words (classes) or numbers (regression); empty: all columns of type "
        "ClassLabel, else the column `label`, in which whole numbers are classes",
    )
    classes: list[str] = Field(
        [], description="columns among `targets` whose whole numbers are classes, not values of a regression"
    )
    subject: str | None = Field(
        None, description="column of the subject's identity; confidence intervals cluster by it"
    )
    splits: list[str] = Field([], description="splits to read, the training split first; empty: all")
    test: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of the first split that becomes the split `test`, if there is none: drawn by a hash of the "
        "subject, else of the row's number, the same on every machine",
    )
    dev: float | None = Field(None, gt=0, lt=1, description="the same for a split `dev`")
    size: int = Field(96, ge=6, le=1024, description="height and width in pixels; the central square is resized")
    length: int = Field(8, ge=1, le=1000, description="frames per video, evenly spaced over the video")
    color: Literal["rgb", "grey"] = Field("rgb", description="three channels (rgb), or one (grey: BT.601 luma)")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if importlib.util.find_spec("datasets") is None:
            raise ValueError("datasets is not installed: pip install 'blear[hf]'")
        if (self.source is None) == (self.hub is None):
            raise ValueError("give `source` or `hub`, one of them")
        if self.classes and not set(self.classes) <= set(self.targets):
            raise ValueError("`classes` names columns of `targets`")
        if (self.test or 0) + (self.dev or 0) >= 1:
            raise ValueError("`test` and `dev` leave no row for training")
        return self


@hookimpl
def register_datasets() -> list[Component]:
    """`hf/dataset`, for all datasets of the library."""
    text, example = "An image or video set of Hugging Face datasets, local or on the hub", {"source": "data/faces"}
    return [Component("dataset", text, HfParams, "blear_hf.dataset:HfDataset", examples=(example,))]
