"""Image and video sets of the Hugging Face `datasets` library, local or on the hub; needs `pip install 'blear[hf]'`."""

import importlib.util
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from blear.contracts import Component, Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class HfParams(Params):
    """What a job may set."""

    source: Path | None = Field(None, description="a folder here: of `save_to_disk`, or whatever `load_dataset` reads")
    hub: str | None = Field(None, description="a set on the hub instead, `owner/name`, downloaded by `prepare`")
    revision: str | None = Field(None, description="commit or tag on the hub; null: the newest")
    frames: str | None = Field(None, description="column of images or videos; null: the first one of that kind")
    targets: list[str] = Field([], description="columns that are learnt: classes, words, numbers; empty: every class")
    subject: str | None = Field(None, description="column that says who is seen; groups the intervals")
    splits: list[str] = Field([], description="which splits, that of training first; empty: all")
    size: int = Field(96, ge=6, le=1024, description="rows and columns; the centre square is taken and resized")
    length: int = Field(8, ge=1, le=1000, description="of videos: frames, spread evenly over each")
    color: Literal["rgb", "grey"] = Field("rgb", description="three channels, or one (BT.601 luma)")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if importlib.util.find_spec("datasets") is None:
            raise ValueError("datasets is not installed: pip install 'blear[hf]'")
        if (self.source is None) == (self.hub is None):
            raise ValueError("give `source` or `hub`, one of them")
        return self


@hookimpl
def register_datasets() -> list[Component]:
    """One component for all of them."""
    text, example = "An image or video set of Hugging Face datasets, local or on the hub", {"source": "data/faces"}
    return [Component("dataset", text, HfParams, "blear_hf.dataset:HfDataset", examples=(example,))]
