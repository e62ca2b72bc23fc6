"""Parameters of `own_data/webdataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from blear.contracts import ClipSpec
from blear_own_data.label_params import LabelParams
from blear_own_data.split_params import ClipParams, Side, SplitParams

_PICTURES = "jpg;jpeg;png;webp;bmp;gif;tif;tiff;ppm;pgm"
_VIDEOS = "mp4;avi;mkv;mov;webm;m4v;mpg;mpeg;wmv"


class FieldLabel(LabelParams):
    """A target of shards."""

    field: str | None = Field(
        None,
        description="file of each sample that holds the label: `cls`, `txt`, `npy`; with a path for JSON: "
        "`json.labels.0`; `cls;label` takes the first that exists. null: `json.` and the target's name",
    )

    @model_validator(mode="after")
    def _needs_classes(self) -> Self:
        if self.kind == "distribution" and not isinstance(self.classes, list):
            raise ValueError("a distribution needs the list `classes`, in the order of its votes or shares")
        return self


class WebdatasetParams(SplitParams, ClipParams):
    """Parameters of `own_data/webdataset`."""

    source: str = Field(
        description="shards: `train-{0000..0146}.tar` with braces or `*`, a folder of .tar and .tar.gz files, or URLs "
        "(http, https, s3, gs) with braces; several are joined by `::`"
    )
    splits: dict[str, str] | None = Field(
        None,
        description="split -> its shards, written as `source` and relative to that folder or URL; null: from the names "
        "of files and folders (train, val, test), else drawn",
    )
    image: str = Field(
        f"{_PICTURES};npy;{_VIDEOS}",
        description="file of each sample with its picture, video or array: endings behind the first dot of the name, "
        "of which the first that exists is used",
    )
    targets: dict[str, str | FieldLabel] = Field(
        min_length=1,
        description="target -> file of the label, or a description: `emotion: cls`, `valence: json.valence`, "
        "`emotion: {field: cls, classes: [angry, happy]}`",
    )
    size: Side | tuple[Side, Side] | None = Field(
        None,
        description="height and width in pixels, to which every picture is brought when it is decoded into the cache; "
        "null: all pictures have the size of the first one",
    )
    fit: Literal["crop", "stretch", "pad", "exact"] = Field(
        "crop",
        description="how a picture gets the shape of `size`. crop: its centre is cut out; stretch: its sides are "
        "scaled apart; pad: black borders are added; exact: it must have that size",
    )
    contents: Literal["pictures", "videos"] | None = Field(
        None, description="what the samples are; null: found out from the first one"
    )
    borders: dict[str, tuple[float, float]] | None = Field(
        None,
        description="drawn split -> its first and last position in the order of the hashes; null: found from the "
        "subjects of all samples, so that the shares are met",
    )
    subject: str | None = Field(
        None,
        description="file of the person's name, as for a label; never in two drawn splits, intervals cluster by it",
    )
    video: str | None = Field(None, description="file of the recording's name")
    time: str | None = Field(None, description="file of the seconds from the start of the recording")
    max_broken: int = Field(
        0, ge=0, description="how many samples of a shard may be left out because a file is missing or a label is wrong"
    )

    @property
    def clip(self) -> ClipSpec:
        """Shape of the clips, once `size` and `contents` are known."""
        size = (self.size, self.size) if isinstance(self.size, int) else self.size or (1, 1)
        return ClipSpec(self.length if self.contents == "videos" else 1, self.channels, *size)

    def label(self, name: str) -> FieldLabel:
        """Returns the description of one target, its field filled in."""
        given = self.targets[name]
        if isinstance(given, str):
            return FieldLabel(field=given)
        return given.model_copy(update={"field": given.field or f"json.{name}"})

    def raw_files(self) -> list[Path]:
        """The shards on this machine."""
        from blear_own_data.shard_places import find_places

        return [Path(place) for places in find_places(self).values() for place in places if "://" not in place]
