"""Compares the indexed reader with WebDataset's sequential reader, sample by sample."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import webdataset
from webdataset.tariterators import group_by_keys, tar_file_expander

from blear.data.shard.archive import Shard
from blear.data.shard.index import ShardIndex
from blear.data.shard.sample_metadata import SampleMetadata, parse_metadata
from blear.errors import DataError

_FIX = "delete the shard's .idx and verify again; if it still differs, delete the shard and run `blear prepare` again"


def compare_with_webdataset(path: Path) -> int:
    """Reads a shard with the readers that `webdataset.WebDataset` is made of, and compares every sample of it.

    Compared are the keys and their order, the members of each sample to the byte, and labels, numbers of frames and
    columns of the index with the json member.

    Returns:
        Number of samples.

    Raises:
        DataError: the first difference; names shard and key.
    """
    with Shard.open(path) as shard:
        columns = shard.index.columns()
        sequential = _sequential_samples(path)
        for number, key in enumerate(shard.index.keys):
            found = next(sequential, None)
            if found is None:
                raise DataError("webdataset does not read this sample", f"{path}, sample {key}", _FIX)
            found_key, members = found
            difference = f"webdataset reads {found_key!r} in its place" if found_key != key else ""
            difference = difference or _members_difference(shard.read(number), members)
            if not difference and number not in shard.index.problems:
                row = {name: values[number] for name, values in columns.items()}
                difference = _metadata_difference(shard.index, number, row, parse_metadata(members.get("json")))
            if difference:
                raise DataError(difference, f"{path}, sample {key}", _FIX)
        further = next(sequential, None)
        if further is not None:
            raise DataError("webdataset reads this sample, the index lacks it", f"{path}, sample {further[0]}", _FIX)
        return len(shard)


def _sequential_samples(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, suffix -> content) of each sample, as WebDataset reads them."""
    last = ""
    try:
        with path.open("rb") as file:  # the file that `webdataset.WebDataset` opens is closed by the garbage collector
            source = {"url": str(path), "stream": file}
            samples = webdataset.DataPipeline(lambda: iter([source]), tar_file_expander, group_by_keys)
            for sample in samples:
                last = f", after sample {sample['__key__']}"
                members = {suffix: data for suffix, data in sample.items() if not suffix.startswith("__")}
                yield sample["__key__"], members
    except (ValueError, tarfile.TarError, OSError) as error:
        raise DataError(f"webdataset cannot read the shard: {error.args[0]}", f"{path}{last}", _FIX) from error


def _members_difference(indexed: Mapping[str, bytes], sequential: Mapping[str, bytes]) -> str:
    """The first difference between the members of a sample; empty if there is none."""
    if indexed.keys() != sequential.keys():
        return f"the index has members {sorted(indexed)}, webdataset {sorted(sequential)}"
    for suffix, data in indexed.items():
        if data != sequential[suffix]:
            sizes = f"{len(data)} bytes by the index, {len(sequential[suffix])} by webdataset"
            return f"the {suffix} member differs ({sizes})"
    return ""


def _metadata_difference(index: ShardIndex, number: int, row: Mapping[str, object], metadata: SampleMetadata) -> str:
    """The first difference between the index and the json member of a sample; empty if there is none."""
    if metadata.problem:
        return metadata.problem
    given = index.given_NK[number].tolist()
    values = index.values_NK[number].tolist()
    labels = {name: value for name, value, there in zip(index.targets, values, given, strict=True) if there}
    columns = metadata.label_columns()
    if labels.keys() != columns.keys() or not all(
        np.array_equal(value, float(columns[name]), equal_nan=True) for name, value in labels.items()
    ):
        return f"the labels are {labels} in the index, {columns} in the json member"
    frames = tuple(index.frames_N2[number].tolist())
    if frames != (metadata.frames, metadata.clean_frames):
        return f"the numbers of frames are {frames} in the index, another in the json member"
    for name, value in row.items():
        if repr(value) != repr(getattr(metadata, name)):  # the texts: NaN differs from itself
            return f"{name} is {value!r} in the index, {getattr(metadata, name)!r} in the json member"
    return ""
