"""Decodes samples of one shard, several in one read of the file."""

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
from blear.data.dataset_info import Layout, ShardInfo
from blear.data.shard.archive import Shard
from blear.data.shard.clip_codec import CLIP_SUFFIXES
from blear.data.shard.clip_decoder import ClipDecoder
from blear.data.shard.fitting_decoder import FittingDecoder
from blear.data.shard.index import ShardIndex
from blear.data.shard.labels import read_labels

_MAX_READ_RATIO = 4  # bytes of one read per byte of the requested members; the rest is tar headers and json members
_MAX_READ_BYTES = 1 << 26
_thread = threading.local()


class EncodedShard:
    """An open shard whose samples have declared shapes and targets; decoding is thread-safe.

    Attributes:
        values_NK: float64 labels in the declared order; where clips differ in length, a last column holds their length.
        problems: sample number -> why its metadata or labels cannot be used.
    """

    def __init__(
        self,
        path: Path,
        info: ShardInfo,
        clip: ClipSpec,
        layout: Layout,
        targets: Sequence[Target],
        index: ShardIndex | None = None,
    ) -> None:
        self.shard = Shard.open(path, info, index)
        self._closer = weakref.finalize(
            self, self.shard.close
        )  # a thread may still read after the store has dropped it
        self.values_NK, self.problems = read_labels(self.shard.index, targets)
        if clip.shortest is not None:
            lengths_N = self.shard.index.frames_N2[:, 0].clip(1, clip.length)
            self.values_NK = np.concatenate([self.values_NK, lengths_N[:, None]], axis=1)
        shape = (clip.length, clip.height, clip.width, clip.channels)
        if layout.fit is not None:
            self.samples = EncodedSamples(
                [_ClipMembers.from_index(self.shard.index, "", FittingDecoder(shape, layout.fit), 0)], self.problems
            )
            return
        frames = ClipDecoder("frames", shape, layout.frames, "the dataset's clip", clip.shortest)
        clips = [_ClipMembers.from_index(self.shard.index, "", frames, 0)]
        if layout.clean is not None and layout.clean_shape is not None:
            decoder = ClipDecoder("clean", layout.clean_shape, layout.clean, "dataset.json")
            clips.append(_ClipMembers.from_index(self.shard.index, "clean.", decoder, 1))
        elif any(suffix.startswith("clean.") for suffix in self.shard.index.suffixes):
            for row in _ClipMembers.from_index(self.shard.index, "clean.", frames, 1).present_N.nonzero()[0].tolist():
                self.problems.setdefault(row, "the shard has a clean clip, but dataset.json declares none")
        self.samples = EncodedSamples(clips, self.problems)

    def __len__(self) -> int:
        return len(self.shard)

    def decode(self, rows: np.ndarray, out: Sequence[np.ndarray], into: Sequence[int]) -> dict[int, str]:
        """Decodes samples into arrays.

        Args:
            rows: int64 [B], numbers of the samples.
            out: for frames, and for clean clips where there are any, an array [N, T, H, W, C].
            into: row of `out` for each sample.

        Returns:
            Sample number -> cause, for broken samples; their rows of `out` are undefined.

        Raises:
            OSError: the file cannot be read.
        """
        return self.samples.decode(self.shard.descriptor, rows, out, into)

    def close(self) -> None:
        """Closes the file."""
        self._closer()


@dataclass(frozen=True)
class EncodedSamples:
    """Places and shapes of a shard's samples without the open file, to be sent to another process."""

    clips: Sequence[_ClipMembers]
    problems: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.clips[0].places_N2)

    @functools.cached_property
    def bytes(self) -> int:
        """Bytes of the encoded clips."""
        return int(sum(clip.places_N2[:, 1].sum() for clip in self.clips))

    def subset(self, rows: np.ndarray) -> EncodedSamples:
        """Selects samples by number; the subset numbers them from 0."""
        problems = (
            {n: self.problems[row] for n, row in enumerate(rows.tolist()) if row in self.problems}
            if self.problems
            else {}
        )
        return EncodedSamples([clip.subset(rows) for clip in self.clips], problems)

    def decode(
        self, descriptor: int, rows: np.ndarray, out: Sequence[np.ndarray], into: Sequence[int]
    ) -> dict[int, str]:
        """Decodes samples from an open file; see `EncodedShard.decode`."""
        broken = {row: self.problems[row] for row in rows.tolist() if row in self.problems} if self.problems else {}
        for clip, array in zip(self.clips, out, strict=True):
            clip.decode(descriptor, rows, array, into, broken)
        return broken


@dataclass(frozen=True, eq=False)
class _ClipMembers:
    """Members of N samples that hold one clip each, either the frames or the clean clip.

    Attributes:
        suffixes: of such members in this shard.
        missing: problem of a sample without a member.
        suffix_N: int8 position in `suffixes`.
        places_N2: int64 (offset, size); offset -1 where a sample has no member.
        frames_N: int64 number of frames that the json member gives.
    """

    decoder: ClipDecoder
    suffixes: Sequence[str]
    missing: str
    suffix_N: np.ndarray
    places_N2: np.ndarray
    frames_N: np.ndarray

    @staticmethod
    def from_index(index: ShardIndex, prefix: str, decoder: ClipDecoder, clip: int) -> _ClipMembers:
        """Finds the members of all samples; of several, the one whose suffix comes first in `CLIP_SUFFIXES`.

        Args:
            index: of the shard.
            prefix: empty for the frames, `clean.` for the clean clip.
            decoder: of these clips.
            clip: column of `index.frames_N2`.
        """
        suffixes = [prefix + suffix for suffix in CLIP_SUFFIXES if prefix + suffix in index.suffixes]
        if isinstance(decoder, FittingDecoder):  # the index of a shard that is read in place lists nothing but frames
            suffixes = list(index.suffixes)
        places_N2 = np.full((len(index), 2), -1, dtype=np.int64)
        suffix_N = np.zeros(len(index), dtype=np.int8)
        for number, suffix in reversed(list(enumerate(suffixes))):
            found_N2 = index.places_NS2[:, index.suffixes.index(suffix)]
            present_N = found_N2[:, 0] >= 0
            places_N2[present_N], suffix_N[present_N] = found_N2[present_N], number
        missing = f"there is no {prefix}png, {prefix}jpg or {prefix}npy member"
        return _ClipMembers(decoder, suffixes, missing, suffix_N, places_N2, index.frames_N2[:, clip])

    @property
    def present_N(self) -> np.ndarray:
        """Whether a sample has such a member, bool [N]."""
        present_N: np.ndarray = self.places_N2[:, 0] >= 0
        return present_N

    def subset(self, rows: np.ndarray) -> _ClipMembers:
        """Selects samples by number."""
        return replace(self, suffix_N=self.suffix_N[rows], places_N2=self.places_N2[rows], frames_N=self.frames_N[rows])

    def decode(
        self, descriptor: int, rows: np.ndarray, out: np.ndarray, into: Sequence[int], broken: dict[int, str]
    ) -> None:
        """Decodes the samples that are not in `broken` into `out`; adds samples that do not decode to `broken`."""
        present_B = self.places_N2[rows, 0] >= 0
        if not present_B.all():
            broken.update(dict.fromkeys(rows[~present_B].tolist(), self.missing))
        if broken:
            good = [n for n, row in enumerate(rows.tolist()) if row not in broken]
            rows, into = rows[good], [into[n] for n in good]
        chunk_B = np.cumsum(self.places_N2[rows, 1]) // _MAX_READ_BYTES
        for first, last in itertools.pairwise([0, *(np.flatnonzero(np.diff(chunk_B)) + 1).tolist(), len(rows)]):
            if first < last:
                self._decode_chunk(descriptor, rows[first:last], out, into[first:last], broken)

    def _decode_chunk(
        self,
        descriptor: int,
        rows: np.ndarray,
        out: np.ndarray,
        into: Sequence[int],
        broken: dict[int, str],
    ) -> None:
        """Decodes samples whose members fit into one read."""
        if len(self.suffixes) > 1:
            suffixes = [self.suffixes[number] for number in self.suffix_N[rows].tolist()]
        else:
            suffixes = [*self.suffixes] * len(rows)
        data, places_B2 = _read_members(descriptor, self.places_N2[rows])
        truncated_B = places_B2.sum(axis=1) > len(data)
        if truncated_B.any():  # the file was truncated after it was opened
            broken |= {
                row: f"the shard ends inside the {suffix} member"
                for row, suffix, truncated in zip(rows.tolist(), suffixes, truncated_B, strict=True)
                if truncated
            }
            whole = np.flatnonzero(~truncated_B).tolist()
            into, suffixes = [into[n] for n in whole], [suffixes[n] for n in whole]
            rows, places_B2 = rows[whole], places_B2[whole]
        causes = self.decoder.decode_batch(data, places_B2, suffixes, self.frames_N[rows], out, into)
        for number, cause in causes.items():
            broken[int(rows[number])] = cause


def _read_members(descriptor: int, places_B2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads members of a file, in one read where they lie close together.

    Args:
        descriptor: of the file.
        places_B2: int64 (offset, size) of each member.

    Returns:
        (uint8 [bytes], int64 [B, 2] places of the members in these bytes); a truncated file gives fewer bytes, so that
        places lie beyond their end.
    """
    first, last, sizes_B = int(places_B2[:, 0].min()), int(places_B2.sum(axis=1).max()), places_B2[:, 1]
    if last - first <= min(_MAX_READ_RATIO * int(sizes_B.sum()) + 4096, _MAX_READ_BYTES):
        return _pread(descriptor, [(first, last - first)]), places_B2 - [first, 0]
    joined_B2 = np.stack([np.cumsum(sizes_B) - sizes_B, sizes_B], axis=1)
    return _pread(descriptor, places_B2.tolist()), joined_B2


def _pread(descriptor: int, places: Sequence[Sequence[int]]) -> np.ndarray:
    """Reads pieces of a file, given as (offset, size), into one buffer; a truncated file gives fewer bytes.

    Each thread reuses one buffer, because new memory for each read costs page faults. A result is valid until the
    thread's next call.
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
