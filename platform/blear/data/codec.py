"""One sample <-> the members of one WebDataset sample: pictures as PNG or npy, everything else as JSON."""

from __future__ import annotations

import io
import json
import tokenize
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from blear.contracts import Sample
from blear.errors import DataError

_PICTURES = ("png", "jpg", "jpeg")
_PREPARE_AGAIN = "delete the shard and run `blear prepare` again"


def encode(sample: Sample) -> dict[str, bytes]:
    """Suffix -> bytes: `png` or `npy`, `clean.png` or `clean.npy` if there is a clean clip, `json`."""
    members: dict[str, bytes] = {}
    suffix, members_data = _encode_clip(sample.frames)
    members[suffix] = members_data
    facts: dict[str, Any] = {"targets": dict(sample.targets), "frames": len(sample.frames)}
    if sample.clean is not None:
        suffix, members_data = _encode_clip(sample.clean)
        members[f"clean.{suffix}"] = members_data
        facts["clean_frames"] = len(sample.clean)
    facts |= {"subject": sample.subject, "video": sample.video, "time": sample.time, "meta": dict(sample.meta)}
    members["json"] = json.dumps(facts, default=_plain, ensure_ascii=False).encode()
    return members


def decode(key: str, members: Mapping[str, bytes], shard: str) -> Sample:
    """The sample of the members; also reads samples that others wrote (JPEG, no `frames` count, no columns).

    Raises:
        DataError: something does not decode; `what` is the cause without the sample's name, so that causes can be
            counted, and `where` names shard and key.
    """
    try:
        facts = _facts(members)
        frames = _clip(members, "", facts.get("frames", 1))
        if frames is None:
            raise _Broken("there is no png, jpg or npy member")
        return Sample(
            key=key,
            frames=frames,
            targets=facts["targets"],
            clean=_clip(members, "clean.", facts.get("clean_frames", 1)),
            subject=facts.get("subject", ""),
            video=facts.get("video", ""),
            time=facts.get("time"),
            meta=facts.get("meta", {}),
        )
    except _Broken as cause:
        raise DataError(str(cause), f"{shard}, sample {key}", _PREPARE_AGAIN) from None


class _Broken(Exception):
    """Why a sample does not decode; never leaves this module."""


def _plain(value: Any) -> Any:
    """NumPy scalars, which datasets give as targets and columns, as plain numbers."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


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


def _facts(members: Mapping[str, bytes]) -> dict[str, Any]:
    if "json" not in members:
        raise _Broken("there is no json member")
    try:
        facts = json.loads(members["json"])
    except ValueError:
        raise _Broken("the json member is not JSON") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("targets"), dict):
        raise _Broken("the json member has no `targets`")
    return facts


def _clip(members: Mapping[str, bytes], prefix: str, frames: int) -> np.ndarray | None:
    """Clip [T, H, W, C] of the members that start with `prefix`; None if there is none."""
    if f"{prefix}npy" in members:
        return _array(members[f"{prefix}npy"], f"{prefix}npy")
    suffix = next((prefix + kind for kind in _PICTURES if prefix + kind in members), None)
    if suffix is None:
        return None
    data = np.frombuffer(members[suffix], dtype=np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if picture is None:
        raise _Broken(f"the {suffix} member does not decode")
    if picture.dtype != np.uint8 or (picture.ndim == 3 and picture.shape[2] != 3):
        raise _Broken(f"the {suffix} member is neither grey nor RGB of 8 bits")
    picture = picture[..., ::-1] if picture.ndim == 3 else picture[..., None]
    rows, width, channels = picture.shape
    if not isinstance(frames, int) or frames < 1 or rows % frames:
        raise _Broken(f"the rows of the {suffix} member do not divide into its frames")
    return np.ascontiguousarray(picture).reshape(frames, rows // frames, width, channels)


def _array(data: bytes, suffix: str) -> np.ndarray:
    try:
        clip = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, tokenize.TokenError):  # the last two: a header that is no literal
        raise _Broken(f"the {suffix} member does not decode") from None
    if clip.ndim != 4 or clip.dtype not in (np.uint8, np.float32):
        raise _Broken(f"the {suffix} member is not uint8 or float32 [T, H, W, C]")
    return clip
