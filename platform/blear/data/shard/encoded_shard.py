"""An open shard of a split: decodes any of its samples, many in one read."""

from __future__ import annotations

import functools
import itertools
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blear.contracts import ClipSpec, Target
from blear.data.dataset_info import Layout
from blear.data.shard.archive import Shard
from blear.data.shard.index import ShardIndex
from blear.data.shard.labels import labels_of
from blear.data.shard.sample_codec import PICTURES, ClipDecoder

_WASTE = 4  # one read may fetch so many times the bytes that are wanted: tar headers, json members
_SPAN_BYTES = 1 << 26
_thread = threading.local()


class EncodedShard:
    """A shard and the declared form of its samples; decoding is thread-safe.

    Attributes:
        values_NK: float64 labels in the declared order; a last column, the frames, where clips differ in length.
        problems: sample number -> why its facts or labels cannot be used.
    """

    def __init__(self, path: Path, clip: ClipSpec, layout: Layout, targets: Sequence[Target]) -> None:
        self.shard = Shard.open(path)
        self._closer = weakref.finalize(self, self.shard.close)  # a thread may still read when the store drops it
        self.values_NK, self.problems = labels_of(self.shard.index, targets)
        if clip.shortest is not None:
            lengths_N = self.shard.index.frames_N2[:, 0].clip(1, clip.length)
            self.values_NK = np.concatenate([self.values_NK, lengths_N[:, None]], axis=1)
        shape = (clip.length, clip.height, clip.width, clip.channels)
        frames = ClipDecoder("frames", shape, layout.frames, "the dataset's clip", clip.shortest)
        clips = [_Members.of(self.shard.index, "", frames, 0)]
        if layout.clean is not None and layout.clean_shape is not None:
            decoder = ClipDecoder("clean", layout.clean_shape, layout.clean, "dataset.json")
            clips.append(_Members.of(self.shard.index, "clean.", decoder, 1))
        elif any(suffix.startswith("clean.") for suffix in self.shard.index.suffixes):
            for row in _Members.of(self.shard.index, "clean.", frames, 1).there.nonzero()[0].tolist():
                self.problems.setdefault(row, "there is a clean clip, dataset.json says that there is none")
        self.samples = EncodedSamples(clips, self.problems)

    def __len__(self) -> int:
        return len(self.shard)

    def decode(self, rows: np.ndarray, out: Sequence[np.ndarray], into: Sequence[int]) -> dict[int, str]:
        """Decodes samples into `out`: for each clip (frames, then clean) an array [N, T, H, W, C], at rows `into`.

        Args:
            rows: int64, which samples.

        Returns:
            Sample number -> cause, of those that are broken; what `out` holds for them means nothing.

        Raises:
            OSError: the file cannot be read.
        """
        return self.samples.decode(self.shard.descriptor, rows, out, into)

    def close(self) -> None:
        """Closes the file."""
        self._closer()


@dataclass(frozen=True)
class EncodedSamples:
    """Samples of a shard without its open file: another process decodes them from there."""

    clips: Sequence[_Members]
    problems: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.clips[0].there)

    @functools.cached_property
    def bytes(self) -> int:
        """Of their clips, encoded."""
        return int(sum(clip.places_N2[:, 1].sum() for clip in self.clips))

    def part(self, rows: np.ndarray) -> EncodedSamples:
        """Some of them, counted from 0."""
        problems = (
            {n: self.problems[row] for n, row in enumerate(rows.tolist()) if row in self.problems}
            if self.problems
            else {}
        )
        return EncodedSamples([clip.part(rows) for clip in self.clips], problems)

    def decode(
        self, descriptor: int, rows: np.ndarray, out: Sequence[np.ndarray], into: Sequence[int]
    ) -> dict[int, str]:
        """As of `EncodedShard.decode`, from the open file."""
        broken = {row: self.problems[row] for row in rows.tolist() if row in self.problems} if self.problems else {}
        for clip, array in zip(self.clips, out, strict=True):
            clip.decode(descriptor, rows, array, into, broken)
        return broken


@dataclass(frozen=True, eq=False)
class _Members:
    """The members of a shard that hold one clip of each sample."""

    decoder: ClipDecoder
    kinds: Sequence[str]
    missing: str
    kind_N: np.ndarray
    places_N2: np.ndarray
    frames_N: np.ndarray

    @staticmethod
    def of(index: ShardIndex, prefix: str, decoder: ClipDecoder, clip: int) -> _Members:
        """Of all samples; the first kind that is there counts."""
        kinds = [prefix + kind for kind in ("npy", *PICTURES) if prefix + kind in index.suffixes]
        places_N2 = np.full((len(index), 2), -1, dtype=np.int64)
        kind_N = np.zeros(len(index), dtype=np.int8)
        for number, kind in reversed(list(enumerate(kinds))):
            found_N2 = index.places_NS2[:, index.suffixes.index(kind)]
            there = found_N2[:, 0] >= 0
            places_N2[there], kind_N[there] = found_N2[there], number
        missing = f"there is no {prefix}png, {prefix}jpg or {prefix}npy member"
        return _Members(decoder, kinds, missing, kind_N, places_N2, index.frames_N2[:, clip])

    @property
    def there(self) -> np.ndarray:
        """Which samples have one."""
        there: np.ndarray = self.places_N2[:, 0] >= 0
        return there

    def part(self, rows: np.ndarray) -> _Members:
        """Of some samples."""
        return replace(self, kind_N=self.kind_N[rows], places_N2=self.places_N2[rows], frames_N=self.frames_N[rows])

    def decode(
        self, descriptor: int, rows: np.ndarray, out: np.ndarray, into: Sequence[int], broken: dict[int, str]
    ) -> None:
        """Decodes samples, but those that are broken already, into `out`; adds those that turn out to be broken."""
        there = self.places_N2[rows, 0] >= 0
        if not there.all():
            broken.update(dict.fromkeys(rows[~there].tolist(), self.missing))
        if broken:
            whole = [n for n, row in enumerate(rows.tolist()) if row not in broken]
            rows, into = rows[whole], [into[n] for n in whole]
        runs = np.cumsum(self.places_N2[rows, 1]) // _SPAN_BYTES
        for first, last in itertools.pairwise([0, *(np.flatnonzero(np.diff(runs)) + 1).tolist(), len(rows)]):
            if first < last:
                self._run(descriptor, rows[first:last], out, into[first:last], broken)

    def _run(
        self,
        descriptor: int,
        rows: np.ndarray,
        out: np.ndarray,
        into: Sequence[int],
        broken: dict[int, str],
    ) -> None:
        if len(self.kinds) > 1:
            kinds = [self.kinds[kind] for kind in self.kind_N[rows].tolist()]
        else:
            kinds = [*self.kinds] * len(rows)
        data, places_B2 = _fetch(descriptor, self.places_N2[rows])
        cut_B = places_B2.sum(axis=1) > len(data)
        if cut_B.any():  # the file was cut off after it was opened
            broken |= {
                row: f"the shard ends inside the {kind} member"
                for row, kind, cut in zip(rows.tolist(), kinds, cut_B, strict=True)
                if cut
            }
            whole = np.flatnonzero(~cut_B).tolist()
            into, kinds = [into[n] for n in whole], [kinds[n] for n in whole]
            rows, places_B2 = rows[whole], places_B2[whole]
        for number, cause in self.decoder.many(data, places_B2, kinds, self.frames_N[rows], out, into).items():
            broken[int(rows[number])] = cause


def _fetch(descriptor: int, places_B2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bytes that hold the members, their places in them); a place beyond the end: the file ends before."""
    first, last, sizes_B = int(places_B2[:, 0].min()), int(places_B2.sum(axis=1).max()), places_B2[:, 1]
    if last - first <= min(_WASTE * int(sizes_B.sum()) + 4096, _SPAN_BYTES):
        return _pread(descriptor, [(first, last - first)]), places_B2 - [first, 0]
    there = np.stack([np.cumsum(sizes_B) - sizes_B, sizes_B], axis=1)
    return _pread(descriptor, places_B2.tolist()), there


def _pread(descriptor: int, places: Sequence[Sequence[int]]) -> np.ndarray:
    """Pieces of a file, (offset, size) each, one behind the other in this thread's buffer; fewer bytes at its end.

    Fresh memory for each read would cost page faults.
    """
    size = sum(size for _, size in places)
    buffer = getattr(_thread, "buffer", None)
    if buffer is None or len(buffer) < size:
        buffer = _thread.buffer = np.empty(max(size, 1 << 16), dtype=np.uint8)
    done = 0
    for offset, piece in places:
        end = done + piece
        while done < end:
            count = os.preadv(descriptor, [buffer[done:end].data], offset + piece - (end - done))
            if not count:
                return np.asarray(buffer[:done])
            done += count
    return np.asarray(buffer[:done])
