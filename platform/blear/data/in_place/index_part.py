"""Indexes one shard in place: where the frames of each sample lie, and their labels."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from blear.contracts import Dataset, InPlace, ShardMembers, ShardSample
from blear.data.dataset_info import Layout, PartInfo, ShardInfo
from blear.data.in_place.local_shards import local_copy, place_of
from blear.data.shard.archive import index_path
from blear.data.shard.checks import columns_problem, key_problem, targets_problem
from blear.data.shard.index import ShardIndex
from blear.data.shard.sample_metadata import SampleMetadata
from blear.data.shard.tar_index import scan_tar
from blear.errors import DataError
from blear.storage.file_digest import file_digest

UNPACKED = "unpacked"
"""Folder of decompressed gzip shards in the folder of a prepared dataset."""


def index_shard(folder: Path, name: str, split: str, part: str, dataset: Dataset, in_place: InPlace) -> PartInfo:
    """Writes the index of the samples of one shard that belong to a split.

    Args:
        folder: of the prepared dataset.
        name: of the shard in `dataset.json`; its index is written beside that path.
        split: name of the split.
        part: path or URL of the shard.
        dataset: gives clip and targets.
        in_place: the same object, reads labels.

    Raises:
        DataError: the shard cannot be read, or raised by the dataset.
    """
    shard = local_copy(part, folder / UNPACKED)
    places: dict[str, dict[str, tuple[int, int]]] = {}
    metadata: list[SampleMetadata] = []
    counts = {target.name: [0] * len(target.classes) for target in dataset.targets if target.kind == "class"}
    with shard.open("rb") as stream:
        scanned = scan_tar(shard)
        for key, found in scanned.places.items():
            members = ShardMembers(key, f"{part}, sample {key}", tuple(found), functools.partial(_read, stream, found))
            if key in scanned.problems:
                raise DataError(scanned.problems[key], members.where, "write the shard again")
            sample = in_place.shard_sample(split, part, members)
            if sample is None:
                continue
            _check(sample, dataset, places, members.where)
            places[sample.key] = {sample.frames: found[sample.frames]}
            metadata.append(_metadata(sample, dataset.clip.length))
            for target, per_class in counts.items():
                per_class[int(sample.targets[target])] += 1  # type: ignore[arg-type]
    class_counts = {target: tuple(per_class) for target, per_class in counts.items()}
    if not places:
        return PartInfo(part=part, layout=None, shards=(), class_counts=class_counts)
    digest, size = file_digest(shard), shard.stat().st_size
    file = index_path(folder / name)
    index_digest = ShardIndex.build(places, metadata, size, digest).save(file)
    info = ShardInfo(
        name=name,
        samples=len(places),
        bytes=size,
        sha256=digest,
        index_sha256=index_digest,
        place=place_of(part, shard),
    )
    return PartInfo(
        part=part, layout=Layout(frames="uint8", fit=in_place.fit), shards=(info,), class_counts=class_counts
    )


def _read(stream: BinaryIO, places: Mapping[str, tuple[int, int]], suffix: str) -> bytes:
    offset, size = places[suffix]
    stream.seek(offset)
    return stream.read(size)


def _check(sample: ShardSample, dataset: Dataset, before: Mapping[str, object], where: str) -> None:
    problem = key_problem(sample.key) or targets_problem(sample.targets, dataset.targets) or columns_problem(sample)
    if not problem and sample.key in before:
        problem = f"the key {sample.key!r} comes twice"
    if problem:
        raise DataError(problem, where, "fix the shard, or the dataset's reader")


def _metadata(sample: ShardSample, frames: int) -> SampleMetadata:
    """Converts a sample to the content of a json member, as blear's own shards have it."""
    targets = {
        name: tuple(map(float, label)) if isinstance(label, Sequence | np.ndarray) else label
        for name, label in sample.targets.items()
    }
    return SampleMetadata(targets, frames, 1, sample.subject, sample.video, sample.time, dict(sample.meta))
