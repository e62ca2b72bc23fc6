"""The file of one decoded shard: written from an encoded one, read through a memory map.
Layout: frames [N, T, H, W, C], clean alike if there is one, float64 labels [N, targets] with one more column, the
number of frames, where clips differ in length, each on a boundary of 64 bytes; a JSON object (broken samples by number,
size and time of the shard); its length as uint64; a magic.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blear.contracts import ClipSpec, Target
from blear.data.dataset_info import Layout, ShardInfo
from blear.data.decoded.cache import Claim
from blear.data.decoded.decode_task import Task, even, write_at
from blear.data.decoded.worker_pool import Crew, do
from blear.data.shard.encoded_shard import EncodedShard

_MAGIC = b"BLEARDEC"
_PIECES = 2  # at least, for each thread: they end together
_PIECE_BYTES = 1 << 23


@dataclass(frozen=True)
class Form:
    """What all samples of a split have alike, and so how their decoded files look."""

    clip: ClipSpec
    layout: Layout
    targets: tuple[Target, ...]

    @property
    def arrays(self) -> list[tuple[tuple[int, int, int, int], np.dtype]]:
        """([T, H, W, C], type) of frames, and of clean if there is one."""
        clip = self.clip
        found = [((clip.length, clip.height, clip.width, clip.channels), np.dtype(self.layout.frames))]
        if self.layout.clean is not None and self.layout.clean_shape is not None:
            found.append((self.layout.clean_shape, np.dtype(self.layout.clean)))
        return found

    @property
    def columns(self) -> int:
        """Of the labels: one for each target, and the number of frames where clips differ in it."""
        return len(self.targets) + (self.clip.shortest is not None)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one decoded sample."""
        return sum(math.prod(shape) * kind.itemsize for shape, kind in self.arrays)

    def starts(self, count: int) -> list[int]:
        """Where the arrays, the labels and the JSON of `count` samples begin."""
        starts = [0]
        for shape, kind in self.arrays:
            starts.append(-(-(starts[-1] + count * math.prod(shape) * kind.itemsize) // 64) * 64)
        return [*starts, starts[-1] + count * self.columns * 8]

    def name(self, shard: ShardInfo) -> str:
        """Names the decoded file of a shard by all that shapes it."""
        targets = [(target.name, target.kind, target.classes, target.bounds) for target in self.targets]
        clip = [self.clip.length, self.clip.channels, self.clip.height, self.clip.width]
        clip += [] if self.clip.shortest is None else [self.clip.shortest]
        text = json.dumps([shard.sha256, shard.samples, clip, self.layout.model_dump(), targets])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class DecodedShard:
    """A decoded shard. `arrays`: frames and clean, memory-mapped; `broken`: sample number -> cause."""

    arrays: Sequence[np.ndarray]
    values_NK: np.ndarray
    broken: dict[int, str]
    shard: list[int]

    @staticmethod
    def lost(form: Form, count: int, cause: str) -> DecodedShard:
        """In place of a shard that cannot be read: every sample is broken, for one cause."""
        arrays = [np.broadcast_to(np.zeros((), kind), (count, *shape)) for shape, kind in form.arrays]
        return DecodedShard(arrays, np.zeros((count, form.columns)), dict.fromkeys(range(count), cause), [])

    @staticmethod
    def open(path: Path, form: Form, count: int) -> DecodedShard | None:
        """Opens a file; None if it is not there any more, or not whole."""
        *starts, values_at, tail = form.starts(count)
        try:
            with path.open("rb") as file:
                file.seek(-16, os.SEEK_END)
                size, magic = struct.unpack("<Q8s", file.read(16))
                if magic != _MAGIC or file.seek(0, os.SEEK_END) != tail + size + 16:
                    return None
                file.seek(values_at)
                values = np.frombuffer(file.read(tail - values_at), "<f8").reshape(count, form.columns)
                facts = json.loads(file.read(size))
                arrays = [
                    np.asarray(
                        np.memmap(file, kind, "r", start, (count, *shape))
                    )  # plain: memmap's own indexing is slow
                    for start, (shape, kind) in zip(starts, form.arrays, strict=True)
                ]
        except (OSError, ValueError):  # evicted in this moment, or damaged
            return None
        return DecodedShard(arrays, values, {int(row): cause for row, cause in facts["broken"].items()}, facts["shard"])


def write_decoded(
    claim: Claim,
    encoded: EncodedShard,
    form: Form,
    advance: Callable[[int], None],
    begun: Callable[[], None],
    team: Crew,
    *,
    much: bool,
) -> dict[int, str]:
    """Decodes a shard into a claimed file, by the crew; returns the broken samples.

    Args:
        advance: called with the number of samples that are done, often.
        begun: called when the work is handed out.
        much: whether helper processes shall be started for it.

    Raises:
        OSError: the disk is full.
    """
    count = len(encoded)
    *starts, values_at, tail = form.starts(count)
    sizes = [math.prod(shape) * kind.itemsize for shape, kind in form.arrays]
    pieces = max(_PIECES, -(-count * form.sample_bytes // (_PIECE_BYTES * team.threads))) * team.threads
    most = max(1, -(-count // pieces))

    def write(rows: np.ndarray) -> dict[int, str]:
        samples, first = encoded.samples.part(rows), int(rows[0])
        offsets = [start + first * size for start, size in zip(starts, sizes, strict=True)]
        broken = do(Task(samples, form.arrays, offsets), encoded.shard.descriptor, claim.descriptor, much=much)
        advance(len(samples))
        return {first + row: cause for row, cause in broken.items()}

    broken = {row: cause for piece in team.each(write, even(count, most), begun) for row, cause in piece.items()}
    write_at(claim.descriptor, np.ascontiguousarray(encoded.values_NK), values_at)
    facts = json.dumps({"broken": dict(sorted(broken.items())), "shard": state_of(encoded.shard.path)}).encode()
    end = facts + struct.pack("<Q8s", len(facts), _MAGIC)
    write_at(claim.descriptor, np.frombuffer(end, np.uint8), tail)
    return broken


def state_of(shard: Path) -> list[int]:
    """Size and time of change: a mended shard differs in them from the broken one."""
    state = shard.stat()
    return [state.st_size, state.st_mtime_ns]
