"""One sample <-> the members of one WebDataset sample: pictures as PNG or npy, everything else as JSON."""

from __future__ import annotations

import io
import math
import tokenize
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from blear.contracts import Sample
from blear.data.shard.picture_decoders import decode_picture, quick_decoder
from blear.data.shard.picture_header import read_picture
from blear.data.shard.sample_metadata import encode_metadata, parse_metadata
from blear.errors import DataError

PICTURES = ("png", "jpg", "jpeg")
_PREPARE_AGAIN = "delete the shard and run `blear prepare` again"
_MOST_PIXELS = 1 << 26
_LONGEST_HEADER = 4096  # of an npy member


class BrokenClip(Exception):
    """Why a clip does not decode; the data path counts it and never lets it out."""


def encode(sample: Sample) -> dict[str, bytes]:
    """Suffix -> bytes: `png` or `npy`, `clean.png` or `clean.npy` if there is a clean clip, `json`."""
    members: dict[str, bytes] = {}
    suffix, data = _encode_clip(sample.frames)
    members[suffix] = data
    if sample.clean is not None:
        suffix, data = _encode_clip(sample.clean)
        members[f"clean.{suffix}"] = data
    members["json"] = encode_metadata(sample)
    return members


def decode(key: str, members: Mapping[str, bytes], shard: str) -> Sample:
    """The sample of the members; also reads samples that others wrote (JPEG, no `frames` count, no columns).

    Raises:
        DataError: something does not decode; `what` is the cause without the sample's name, so that causes can be
            counted, and `where` names shard and key.
    """
    try:
        facts = parse_metadata(members.get("json"))
        if facts.problem:
            raise BrokenClip(facts.problem)
        frames = _clip(members, "", facts.frames)
        if frames is None:
            raise BrokenClip("there is no png, jpg or npy member")
        clean = _clip(members, "clean.", facts.clean_frames)
        return Sample(key, frames, facts.targets, clean, facts.subject, facts.video, facts.time, facts.meta)
    except BrokenClip as cause:
        raise DataError(str(cause), f"{shard}, sample {key}", _PREPARE_AGAIN) from None


class ClipDecoder:
    """Decodes clips of one declared form into an array; checks every header before it decodes.

    Thread-safe: what it remembers is replaced, never changed.

    Args:
        name: `frames` or `clean`, for messages.
        shape: declared (frames, height, width, channels).
        kind: declared type, `uint8` or `float32`.
        place: who declares it, for messages.
        shortest: fewest frames of a clip; what is missing is filled with its last frame. None: all have the same.
    """

    def __init__(
        self, name: str, shape: tuple[int, int, int, int], kind: str, place: str, shortest: int | None = None
    ) -> None:
        self.name, self.shape, self.kind, self.place = name, shape, np.dtype(kind), place
        self.shortest = shape[0] if shortest is None else shortest
        self._byte = np.dtype(np.uint8)
        self._usual: tuple[bytes, Callable[[bytes], np.ndarray] | None] = (b"", None)  # how pictures begin, who decodes

    def __reduce__(self) -> tuple[type[ClipDecoder], tuple[object, ...]]:
        return ClipDecoder, (self.name, self.shape, str(self.kind), self.place, self.shortest)

    def many(
        self,
        data: np.ndarray,
        places_B2: np.ndarray,
        suffixes: Sequence[str],
        frames_B: np.ndarray,
        out_NTHWC: np.ndarray,
        rows: Sequence[int],
    ) -> dict[int, str]:
        """Decodes the members at `places_B2`, (offset, size) in `data`, into `out_NTHWC[rows]`; the rest as of `into`.

        Returns:
            Position among the members -> why it does not decode.
        """
        broken: dict[int, str] = {}
        view, starts, ends = data.data, places_B2[:, 0].tolist(), places_B2.sum(axis=1).tolist()
        length, height, width, channels = self.shape
        flat = out_NTHWC.reshape(len(out_NTHWC), length * height, width, channels)  # a view: it is contiguous
        usual_B = (frames_B == length).tolist()
        prefix, decode = self._usual
        # small faces spend more time here than in the decoder, unless this is short
        for number, (start, end, row, usual) in enumerate(zip(starts, ends, rows, usual_B, strict=True)):
            if usual and decode is not None:
                member = bytes(view[start:end])
                try:
                    if member.startswith(prefix):  # so its shape is the declared one
                        flat[row] = decode(member)
                        continue
                except Exception:  # noqa: BLE001 - kornia-rs raises nothing narrower; OpenCV has the last word
                    pass
            try:
                self.into(suffixes[number], data[start:end], int(frames_B[number]), out_NTHWC[row])
            except BrokenClip as cause:
                broken[number] = str(cause)
            prefix, decode = self._usual
        return broken

    def into(self, suffix: str, data: np.ndarray, frames: int, out_THWC: np.ndarray) -> None:
        """Decodes the member `suffix`, uint8 [bytes], which says that it holds `frames` frames.

        Raises:
            BrokenClip: it does not decode, or to something that is not declared.
        """
        if suffix.endswith("npy"):
            self._array(suffix, data, out_THWC)
        else:
            self._odd(suffix, data, frames, out_THWC)

    def _odd(self, suffix: str, data: np.ndarray, frames: int, out_THWC: np.ndarray) -> None:
        """The first picture, one of another kind, or one that is broken."""
        header = read_picture(data.data)
        if header is None:
            raise BrokenClip(f"the {suffix} member does not decode")
        if header.channels is not None and (header.bits > 8 or header.channels not in (1, 3)):
            raise BrokenClip(f"the {suffix} member is neither grey nor RGB of 8 bits")
        declared = (header.height, header.width, header.channels or self.shape[3])
        self._refuse(_shape_of(suffix, declared, frames), self._byte)
        picture = decode_picture(data, header)
        if picture is None:
            raise BrokenClip(f"the {suffix} member does not decode")
        picture = _plain(suffix, picture)
        shape = _shape_of(suffix, picture.shape, frames)
        self._refuse(shape, self._byte)
        decode = quick_decoder(header)
        if decode is not None and frames == self.shape[0]:
            self._usual = header.prefix, decode
        out_THWC[:frames] = picture.reshape(shape)
        out_THWC[frames:] = out_THWC[frames - 1]

    def _array(self, suffix: str, data: np.ndarray, out_THWC: np.ndarray) -> None:
        shape, kind, start, by_columns = _array_header(suffix, data)
        self._refuse(shape, kind)
        count = math.prod(shape)
        if len(data) - start < count * kind.itemsize:
            raise BrokenClip(f"the {suffix} member does not decode")
        clip = np.frombuffer(data, kind, count, start)
        clip_THWC = clip.reshape(shape, order="F" if by_columns else "C")
        if kind != np.uint8 and not np.isfinite(clip).all():
            raise BrokenClip(f"{self.name} hold values that are not finite")
        out_THWC[: shape[0]] = clip_THWC
        out_THWC[shape[0] :] = out_THWC[shape[0] - 1]

    def _refuse(self, shape: tuple[int, ...], kind: np.dtype) -> None:
        """Raises where what is found is not what is declared."""
        if shape[1:] != self.shape[1:] or not self.shortest <= shape[0] <= self.shape[0]:
            fewer = "" if self.shortest == self.shape[0] else f" with {self.shortest} frames or more"
            raise BrokenClip(f"{self.name} have shape {shape}, {self.place} says {self.shape} [T, H, W, C]{fewer}")
        if kind != self.kind:
            raise BrokenClip(f"{self.name} are stored as {kind}, {self.place} says {self.kind}")


def _encode_clip(clip_THWC: np.ndarray) -> tuple[str, bytes]:
    frames, height, width, channels = clip_THWC.shape
    if clip_THWC.dtype == np.uint8 and channels in (1, 3):
        stacked = np.ascontiguousarray(clip_THWC.reshape(frames * height, width, channels)[..., ::-1])  # OpenCV: BGR
        done, data = cv2.imencode(".png", stacked)
        if not done:
            raise ValueError(f"a picture of {width}x{frames * height} pixels cannot be encoded as PNG")
        return "png", data.tobytes()
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(clip_THWC), allow_pickle=False)
    return "npy", stream.getvalue()


def _clip(members: Mapping[str, bytes], prefix: str, frames: int) -> np.ndarray | None:
    """Clip [T, H, W, C] of the members that start with `prefix`; None if there is none."""
    suffix = next((prefix + kind for kind in ("npy", *PICTURES) if prefix + kind in members), None)
    if suffix is None:
        return None
    data = np.frombuffer(members[suffix], dtype=np.uint8)
    if suffix.endswith("npy"):
        shape, dtype, start, by_columns = _array_header(suffix, data)
        count = math.prod(shape)
        if len(data) - start < count * dtype.itemsize:
            raise BrokenClip(f"the {suffix} member does not decode")
        return np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if by_columns else "C").copy()
    header = read_picture(members[suffix])
    if header is not None and header.width * header.height > _MOST_PIXELS:
        raise BrokenClip(f"the {suffix} member declares {header.width}x{header.height} pixels")
    picture = decode_picture(data, header) if header is not None else None
    if picture is None:
        raise BrokenClip(f"the {suffix} member does not decode")
    picture = _plain(suffix, picture)
    return np.ascontiguousarray(picture).reshape(_shape_of(suffix, picture.shape, frames))


def _plain(suffix: str, picture: np.ndarray) -> np.ndarray:
    """The decoded picture, if it is uint8 [rows, width, 1 or 3]."""
    if picture.dtype != np.uint8 or picture.shape[2] not in (1, 3):
        raise BrokenClip(f"the {suffix} member is neither grey nor RGB of 8 bits")
    return picture


def _shape_of(suffix: str, picture: tuple[int, ...], frames: int) -> tuple[int, int, int, int]:
    """(T, H, W, C) of a picture (rows, width, channels) whose frames lie below each other."""
    rows, width, channels = picture
    if frames < 1 or rows % frames:
        raise BrokenClip(f"the rows of the {suffix} member do not divide into its frames")
    return frames, rows // frames, width, channels


def _array_header(suffix: str, data: np.ndarray) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    """(shape, type, where the values start, whether they lie in Fortran order) of an npy member."""
    stream = io.BytesIO(data[:_LONGEST_HEADER].tobytes())
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(stream)
    except (ValueError, EOFError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        # all but the first two: a header that is no literal
        raise BrokenClip(f"the {suffix} member does not decode") from None
    if dtype.hasobject:
        raise BrokenClip(f"the {suffix} member does not decode")
    if len(shape) != 4 or dtype not in (np.uint8, np.float32) or min(shape) < 0:
        raise BrokenClip(f"the {suffix} member is not uint8 or float32 [T, H, W, C]")
    return shape, dtype, stream.tell(), by_columns
