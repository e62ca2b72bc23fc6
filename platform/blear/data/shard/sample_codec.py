"""Converts a sample to the members of a WebDataset sample and back: clips as PNG or npy, everything else as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from blear.contracts import Sample
from blear.data.shard.clip_codec import BrokenClip, decode_clip, encode_clip
from blear.data.shard.sample_metadata import encode_metadata, parse_metadata
from blear.errors import DataError


def encode_sample(sample: Sample) -> dict[str, bytes]:
    """Encodes a sample: suffix -> content.

    The suffixes are `png` or `npy`, then `clean.png` or `clean.npy` if there is a clean clip, then `json`.
    """
    members: dict[str, bytes] = {}
    suffix, data = encode_clip(sample.frames)
    members[suffix] = data
    if sample.clean is not None:
        suffix, data = encode_clip(sample.clean)
        members[f"clean.{suffix}"] = data
    members["json"] = encode_metadata(sample)
    return members


def decode_sample(key: str, members: Mapping[str, bytes], shard: str) -> Sample:
    """Decodes a sample, also of shards of other origin: JPEG, no `frames` in the JSON, no columns.

    Args:
        key: of the sample.
        members: suffix -> content.
        shard: path of the shard, for messages.

    Raises:
        DataError: a member does not decode. `what` is the cause without the sample's name, so that equal causes can be
            counted; `where` names shard and key.
    """
    try:
        metadata = parse_metadata(members.get("json"))
        if metadata.problem:
            raise BrokenClip(metadata.problem)
        frames = decode_clip(members, "", metadata.frames)
        if frames is None:
            raise BrokenClip("there is no png, jpg or npy member")
        clean = decode_clip(members, "clean.", metadata.clean_frames)
        return Sample(
            key,
            frames,
            metadata.targets,
            clean,
            metadata.subject,
            metadata.video,
            metadata.time,
            metadata.meta,
        )
    except BrokenClip as cause:
        do = "delete the shard and run `blear prepare` again"
        raise DataError(str(cause), f"{shard}, sample {key}", do) from None
