"""An open shard of a split: decodes any of its samples, many in one read."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blear.contracts import ClipSpec, Target
from blear.data.models import Layout
from blear.data.shard.archive import Shard
from blear.data.shard.codec import PICTURES, BrokenClip, ClipDecoder
from blear.data.shard.labels import labels_of

_WASTE = 4  # one read may fetch so many times the bytes that are wanted: tar headers, json members
_SPAN_BYTES = 1 << 26
_thread = threading.local()


class EncodedShard:
    """A shard and the declared form of its samples; decoding is thread-safe.

    Attributes:
        values_NK: float64 labels in the declared order.
        problems: sample number -> why its facts or labels cannot be used.
    """

    def __init__(self, path: Path, clip: ClipSpec, layout: Layout, targets: Sequence[Target]) -> None:
        self.shard = Shard.open(path)
        self._closer = weakref.finalize(self, self.shard.close)  # a thread may still read when the store drops it
        self.values_NK, self.problems = labels_of(self.shard.index, targets)
        shape = (clip.length, clip.height, clip.width, clip.channels)
        self._clips = [_Members(self.shard, "", ClipDecoder("frames", shape, layout.frames, "the dataset's clip"), 0)]
        if layout.clean is not None and layout.clean_shape is not None:
            decoder = ClipDecoder("clean", layout.clean_shape, layout.clean, "dataset.json")
            self._clips.append(_Members(self.shard, "clean.", decoder, 1))
        elif any(suffix.startswith("clean.") for suffix in self.shard.index.suffixes):
            for row in _Members(self.shard, "clean.", None, 1).there.nonzero()[0].tolist():
                self.problems.setdefault(row, "there is a clean clip, dataset.json says that there is none")

    def __len__(self) -> int:
        return len(self.shard)

    def decode(self, rows: Sequence[int], out: Sequence[Sequence[np.ndarray]]) -> dict[int, str]:
        """Decodes samples into `out`: for each clip (frames, then clean) one array [T, C, H, W] for each row.

        Returns:
            Sample number -> cause, of those that are broken; what `out` holds for them means nothing.

        Raises:
            OSError: the file cannot be read.
        """
        broken = {row: self.problems[row] for row in rows if row in self.problems} if self.problems else {}
        for clip, arrays in zip(self._clips, out, strict=True):
            clip.decode(rows, arrays, broken)
        return broken

    def close(self) -> None:
        """Closes the file."""
        self._closer()


class _Members:
    """The members of a shard that hold one clip of each sample."""

    def __init__(self, shard: Shard, prefix: str, decoder: ClipDecoder | None, clip: int) -> None:
        self.shard, self.decoder = shard, decoder
        index = shard.index
        kinds = [prefix + kind for kind in ("npy", *PICTURES) if prefix + kind in index.suffixes]
        self.kinds = kinds or [f"{prefix}png"]
        self.places_N2 = np.full((len(index), 2), -1, dtype=np.int64)
        self.kind_N = np.zeros(len(index), dtype=np.int64)
        for number, kind in reversed(list(enumerate(kinds))):  # the first kind that is there counts
            places_N2 = index.places_NS2[:, index.suffixes.index(kind)]
            there = places_N2[:, 0] >= 0
            self.places_N2[there], self.kind_N[there] = places_N2[there], number
        self.there = self.places_N2[:, 0] >= 0
        self.frames_N = index.frames_N2[:, clip]
        self.missing = f"there is no {prefix}png, {prefix}jpg or {prefix}npy member"

    def decode(self, rows: Sequence[int], out: Sequence[np.ndarray], broken: dict[int, str]) -> None:
        """Decodes samples, but those that are broken already, into `out`; adds those that turn out to be broken."""
        if self.decoder is None:
            return
        there = self.there[np.asarray(rows, dtype=np.int64)]
        if not there.all():
            broken.update((row, self.missing) for row, here in zip(rows, there, strict=True) if not here)
        if broken:
            whole = [n for n, row in enumerate(rows) if row not in broken]
            rows, out = [rows[n] for n in whole], [out[n] for n in whole]
        if not len(rows):
            return
        index = np.asarray(rows, dtype=np.int64)
        places_B2, frames, kind_of = self.places_N2[index], self.frames_N[index].tolist(), self.kind_N[index].tolist()
        data, first = self._span(places_B2)
        into, kinds = self.decoder.into, self.kinds
        for row, array, count, kind, (offset, size) in zip(rows, out, frames, kind_of, places_B2.tolist(), strict=True):
            if data is None:
                member = _pread(self.shard.descriptor, offset, size)
            else:
                member = data[offset - first : offset - first + size]
            if len(member) != size:  # it was cut off after it was opened
                broken[row] = f"the shard ends inside the {kinds[kind]} member"
                continue
            try:
                into(kinds[kind], member, count, array)
            except BrokenClip as cause:
                broken[row] = str(cause)

    def _span(self, places_B2: np.ndarray) -> tuple[np.ndarray | None, int]:
        """(bytes that hold all the members, where they begin); None where the members lie too far apart."""
        first, last = int(places_B2[:, 0].min()), int(places_B2.sum(axis=1).max())
        if last - first > min(_WASTE * int(places_B2[:, 1].sum()) + 4096, _SPAN_BYTES):
            return None, 0
        return _pread(self.shard.descriptor, first, last - first), first


def _pread(descriptor: int, offset: int, size: int) -> np.ndarray:
    """Bytes of a file in this thread's buffer, fewer at its end; fresh memory for each read would cost page faults."""
    buffer = getattr(_thread, "buffer", None)
    if buffer is None or len(buffer) < size:
        buffer = _thread.buffer = np.empty(max(size, 1 << 16), dtype=np.uint8)
    done = 0
    while done < size:
        count = os.preadv(descriptor, [buffer[done:size].data], offset + done)
        if not count:
            break
        done += count
    return np.asarray(buffer[:done])
