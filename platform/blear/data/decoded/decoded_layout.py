"""The arrays of decoded samples: shapes, types, and offsets in the file of a decoded shard."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blear.contracts import ClipSpec, Target
from blear.data.dataset_info import Layout, ShardInfo
from blear.data.shard.labels import label_columns

ArraySpecs = Sequence[tuple[tuple[int, int, int, int], np.dtype]]
"""Shape [T, H, W, C] and type of a sample's frames, and of its clean clip if there is one."""


@dataclass(frozen=True)
class DecodedLayout:
    """Array shapes and types that all samples of a split share.

    Attributes:
        clip: shape of the clips.
        stored: array types, and the shape of the clean clips, as `dataset.json` declares them.
        targets: the targets of the dataset.
    """

    clip: ClipSpec
    stored: Layout
    targets: tuple[Target, ...]

    @property
    def arrays(self) -> list[tuple[tuple[int, int, int, int], np.dtype]]:
        """([T, H, W, C], type) of the frames, and of the clean clip if there is one."""
        clip = self.clip
        specs = [((clip.length, clip.height, clip.width, clip.channels), np.dtype(self.stored.frames))]
        if self.stored.clean is not None and self.stored.clean_shape is not None:
            specs.append((self.stored.clean_shape, np.dtype(self.stored.clean)))
        return specs

    @property
    def label_columns(self) -> int:
        """Number of label columns: those of all targets, and the number of frames where clips differ in length."""
        return label_columns(self.targets) + (self.clip.shortest is not None)

    @property
    def sample_bytes(self) -> int:
        """Bytes of the arrays of one sample."""
        return sum(math.prod(shape) * dtype.itemsize for shape, dtype in self.arrays)

    def offsets(self, count: int) -> list[int]:
        """Offsets of the arrays, the labels and the JSON object in the file of `count` samples."""
        offsets = [0]
        for shape, dtype in self.arrays:
            offsets.append(align64(offsets[-1] + count * math.prod(shape) * dtype.itemsize))
        return [*offsets, offsets[-1] + count * self.label_columns * 8]

    def cache_name(self, shard: ShardInfo) -> str:
        """Name of the decoded file of a shard: a digest of everything that determines its content, 32 hex digits."""
        targets = [(target.name, target.kind, target.classes, target.bounds) for target in self.targets]
        clip = [self.clip.length, self.clip.channels, self.clip.height, self.clip.width]
        clip += [] if self.clip.shortest is None else [self.clip.shortest]
        stored = self.stored.model_dump(exclude={"fit"} if self.stored.fit is None else None)
        content = [shard.sha256, shard.samples, clip, stored, targets]
        content += (
            [shard.index_sha256] if shard.place else []
        )  # it holds the labels, which the shard does not determine
        text = json.dumps(content)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def align64(offset: int) -> int:
    """The next multiple of 64, for instance 65 -> 128."""
    return -(-offset // 64) * 64
