"""What `dataset.json` and the markers of finished parts hold."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from blear.contracts import ClipSpec, Sample, Target

FORMAT = 2
"""Version of the folder's layout; part of its digest."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardInfo(_Model):
    """One shard: `name` is its path below the dataset's folder."""

    name: str
    samples: int
    bytes: int
    sha256: str


class Layout(_Model):
    """What every sample of a split has alike: types, and the shape [T, H, W, C] of the clean clip, if any."""

    frames: Literal["uint8", "float32"]
    clean: Literal["uint8", "float32"] | None = None
    clean_shape: tuple[int, int, int, int] | None = None

    @staticmethod
    def of(sample: Sample) -> Layout:
        """The layout of a checked sample."""
        frames: Any = str(sample.frames.dtype)
        if sample.clean is None:
            return Layout(frames=frames)
        clean: Any = str(sample.clean.dtype)
        return Layout(frames=frames, clean=clean, clean_shape=sample.clean.shape)


class PartInfo(_Model):
    """A finished part; `layout` is None if it has no sample; `class_counts` as of `SplitInfo`."""

    part: str
    layout: Layout | None
    shards: tuple[ShardInfo, ...]
    class_counts: dict[str, tuple[int, ...]]


class SplitInfo(_Model):
    """A split: its shards in order of parts; class target -> how many samples there are of each class."""

    layout: Layout
    shards: tuple[ShardInfo, ...]
    class_counts: dict[str, tuple[int, ...]]


class TrainedOn(_Model):
    """What a trained stage keeps of its data: the shape of its clips, and what they are labelled with."""

    name: str
    params: dict[str, Any]
    clip: ClipSpec
    targets: tuple[Target, ...]


class DatasetInfo(_Model):
    """A prepared dataset, the content of `dataset.json`; splits in the dataset's order, the training split first.

    Attributes:
        degrade_once: name, parameters and version of each degradation that acted when samples were written.
    """

    format: int = FORMAT
    name: str
    version: str
    blear: str
    seed: int
    params: dict[str, Any]
    degrade_once: tuple[dict[str, Any], ...] = ()
    terms: str
    clip: ClipSpec
    targets: tuple[Target, ...]
    splits: dict[str, SplitInfo]
