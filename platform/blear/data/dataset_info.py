"""Models of `dataset.json` and of the markers of finished parts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from blear.clips import Fit
from blear.contracts import ClipSpec, Sample, Target
from blear.imaging import Framing

FORMAT = 3
"""Version of `dataset.json`: 3 has the digest of each index."""
IN_PLACE_FORMAT = 4
"""Version of `dataset.json` of shards that lie elsewhere, each at its `ShardInfo.place`."""
READABLE_FORMATS = (2, 3, 4)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardInfo(_Model):
    """One shard file.

    Attributes:
        name: path of the file, relative to the dataset's folder.
        samples: number of samples.
        bytes: size of the file.
        sha256: digest of the file, hexadecimal.
        index_sha256: digest of the index beside it, hexadecimal. Empty in format 2, and for shards of other writers.
        place: path or URL of a shard that somebody else wrote and that is read in place; the dataset's folder then
            holds its index, beside the path `name`. Empty: the shard lies at `name`.
    """

    name: str
    samples: int
    bytes: int
    sha256: str
    index_sha256: str = ""
    place: str = ""

    @property
    def title(self) -> str:
        """Place or name of the shard, for messages."""
        return self.place or self.name


class Layout(_Model):
    """Array types that all samples of a split share, and the shape [T, H, W, C] of their clean clips, if any.

    Attributes:
        fit: how pictures of other sizes get the size of the clip (`contracts.InPlace`); None: all have it.
    """

    frames: Literal["uint8", "float32"]
    clean: Literal["uint8", "float32"] | None = None
    clean_shape: tuple[int, int, int, int] | None = None
    fit: Fit | None = None

    @staticmethod
    def of(sample: Sample) -> Layout:
        """The layout of a validated sample."""
        frames: Any = str(sample.frames.dtype)
        if sample.clean is None:
            return Layout(frames=frames)
        clean: Any = str(sample.clean.dtype)
        return Layout(frames=frames, clean=clean, clean_shape=sample.clean.shape)


class PartInfo(_Model):
    """A finished part of a split; `layout` is None for a part without samples; `class_counts` as in `SplitInfo`."""

    part: str
    layout: Layout | None
    shards: tuple[ShardInfo, ...]
    class_counts: dict[str, tuple[int, ...]]


class SplitInfo(_Model):
    """A split.

    Attributes:
        layout: array types of all samples.
        shards: shards in order of the parts.
        class_counts: class target -> number of samples of each class.
    """

    layout: Layout
    shards: tuple[ShardInfo, ...]
    class_counts: dict[str, tuple[int, ...]]


class TrainedOn(_Model):
    """The training data of a stage, as `stage.json` records it: component, parameters, shape of the clips, targets.

    `framing` states how faces were cut; None: the dataset does not state it. `grey_range`: see `contracts.GreyRange`.
    """

    name: str
    params: dict[str, Any]
    clip: ClipSpec
    targets: tuple[Target, ...]
    framing: Framing | None = None
    grey_range: Literal["full", "studio"] | None = None


class DatasetInfo(_Model):
    """Content of `dataset.json`, the description of a prepared dataset.

    Attributes:
        framing: how the faces were cut out of their pictures; None: the dataset does not state it.
        grey_range: range of the luma of grey clips (`contracts.GreyRange`); None: an older version wrote the file.
        degrade_once: name, parameters and version of each offline degradation, applied before samples were written.
        splits: name -> split, in the dataset's order; the training split is first.
    """

    format: int = FORMAT
    name: str
    version: str
    blear: str
    seed: int
    params: dict[str, Any]
    degrade_once: tuple[dict[str, Any], ...] = ()
    terms: str
    framing: Framing | None = None
    grey_range: Literal["full", "studio"] | None = None
    clip: ClipSpec
    targets: tuple[Target, ...]
    splits: dict[str, SplitInfo]
