"""Decodes clips of one declared shape and type into arrays, many at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from blear.data.shard.clip_codec import BrokenClip, check_image, clip_shape, read_npy_header
from blear.data.shard.image_decoders import decode_image, fast_decoder
from blear.data.shard.image_header import read_image_header


class ClipDecoder:
    """Decodes clips of one declared shape and type into an array; every header is checked before decoding.

    The decoder remembers the header of the last image that passed all checks, and skips them for images that begin with
    the same bytes. Thread-safe: the remembered header is replaced, never changed.

    Args:
        name: `frames` or `clean`, for messages.
        shape: declared (frames, height, width, channels).
        kind: declared type, `uint8` or `float32`.
        place: where the shape is declared, for messages.
        shortest: fewest frames of a clip; shorter clips are padded with their last frame. None: all have `shape[0]`.
    """

    def __init__(
        self, name: str, shape: tuple[int, int, int, int], kind: str, place: str, shortest: int | None = None
    ) -> None:
        self.name, self.shape, self.kind, self.place = name, shape, np.dtype(kind), place
        self.shortest = shape[0] if shortest is None else shortest
        self._byte = np.dtype(np.uint8)
        self._known: tuple[bytes, Callable[[bytes], np.ndarray] | None] = (b"", None)  # checked prefix, its decoder

    def __reduce__(self) -> tuple[type[ClipDecoder], tuple[object, ...]]:
        return ClipDecoder, (self.name, self.shape, str(self.kind), self.place, self.shortest)

    def decode_batch(
        self,
        data: np.ndarray,
        places_B2: np.ndarray,
        suffixes: Sequence[str],
        frames_B: np.ndarray,
        out_NTHWC: np.ndarray,
        rows: Sequence[int],
    ) -> dict[int, str]:
        """Decodes B members into rows of an array.

        Args:
            data: uint8 [bytes] that contain the members.
            places_B2: int64 (offset, size) of each member in `data`.
            suffixes: of the members.
            frames_B: number of frames of each clip.
            out_NTHWC: contiguous.
            rows: row of `out_NTHWC` for each member.

        Returns:
            Position among the members -> why it does not decode.
        """
        broken: dict[int, str] = {}
        view, starts, ends = data.data, places_B2[:, 0].tolist(), places_B2.sum(axis=1).tolist()
        length, height, width, channels = self.shape
        images = out_NTHWC.reshape(len(out_NTHWC), length * height, width, channels)  # a view: it is contiguous
        full_length_B = (frames_B == length).tolist()
        prefix, decode = self._known
        # for small images this loop takes longer than decoding, so that it must stay short
        for number, (start, end, row, full_length) in enumerate(zip(starts, ends, rows, full_length_B, strict=True)):
            if full_length and decode is not None:
                member = bytes(view[start:end])
                try:
                    if member.startswith(prefix):  # its shape is the declared one
                        images[row] = decode(member)
                        continue
                except Exception:  # noqa: BLE001 - kornia-rs raises nothing narrower; OpenCV is tried next
                    pass
            try:
                self.decode_member(suffixes[number], data[start:end], int(frames_B[number]), out_NTHWC[row])
            except BrokenClip as cause:
                broken[number] = str(cause)
            prefix, decode = self._known
        return broken

    def decode_member(self, suffix: str, data: np.ndarray, frames: int, out_THWC: np.ndarray) -> None:
        """Decodes one member with all checks.

        Args:
            suffix: of the member.
            data: uint8 [bytes].
            frames: number of frames that the json member gives.
            out_THWC: receives the clip.

        Raises:
            BrokenClip: the member does not decode, or to another shape or type than the declared one.
        """
        if suffix.endswith("npy"):
            self._decode_npy(suffix, data, out_THWC)
        else:
            self._decode_image(suffix, data, frames, out_THWC)

    def _decode_image(self, suffix: str, data: np.ndarray, frames: int, out_THWC: np.ndarray) -> None:
        header = read_image_header(data.data)
        if header is None:
            raise BrokenClip(f"the {suffix} member does not decode")
        if header.channels is not None and (header.bits > 8 or header.channels not in (1, 3)):
            raise BrokenClip(f"the {suffix} member is neither grey nor RGB of 8 bits")
        declared = (header.height, header.width, header.channels or self.shape[3])
        self._check(clip_shape(suffix, declared, frames), self._byte)
        image = decode_image(data, header)
        if image is None:
            raise BrokenClip(f"the {suffix} member does not decode")
        check_image(suffix, image)
        shape = clip_shape(suffix, image.shape, frames)
        self._check(shape, self._byte)
        decode = fast_decoder(header)
        if decode is not None and frames == self.shape[0]:
            self._known = header.prefix, decode
        out_THWC[:frames] = image.reshape(shape)
        out_THWC[frames:] = out_THWC[frames - 1]

    def _decode_npy(self, suffix: str, data: np.ndarray, out_THWC: np.ndarray) -> None:
        shape, kind, start, fortran = read_npy_header(suffix, data)
        self._check(shape, kind)
        count = math.prod(shape)
        if len(data) - start < count * kind.itemsize:
            raise BrokenClip(f"the {suffix} member does not decode")
        clip = np.frombuffer(data, kind, count, start)
        clip_THWC = clip.reshape(shape, order="F" if fortran else "C")
        if kind != np.uint8 and not np.isfinite(clip).all():
            raise BrokenClip(f"{self.name} hold values that are not finite")
        out_THWC[: shape[0]] = clip_THWC
        out_THWC[shape[0] :] = out_THWC[shape[0] - 1]

    def _check(self, shape: tuple[int, ...], kind: np.dtype) -> None:
        """Raises `BrokenClip` where shape or type differ from the declared ones."""
        if shape[1:] != self.shape[1:] or not self.shortest <= shape[0] <= self.shape[0]:
            fewer = "" if self.shortest == self.shape[0] else f" with {self.shortest} frames or more"
            raise BrokenClip(f"{self.name} have shape {shape}, {self.place} says {self.shape} [T, H, W, C]{fewer}")
        if kind != self.kind:
            raise BrokenClip(f"{self.name} are stored as {kind}, {self.place} says {self.kind}")
