"""Writes the shards of one part of a split; runs in this process, a worker process or a Ray task."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from blear.contracts import BuildContext, Dataset, InPlace, Sample
from blear.data.dataset_info import Layout, PartInfo, ShardInfo
from blear.data.in_place.index_part import index_shard
from blear.data.in_place.local_shards import is_prepared
from blear.data.shard.checks import check_sample
from blear.data.shard.sample_codec import encode_sample
from blear.data.shard.writer import ShardWriter
from blear.errors import DataError
from blear.plugin.component_ref import ComponentRef
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationEntry
from blear.storage.durable import named_errors
from blear.storage.run_folder import write_text

if TYPE_CHECKING:
    from blear.degradation.chain import Chain

SHARD_BYTES = 64_000_000
SHARD_SAMPLES = 10_000
_REMEMBERED_KEYS = 200_000  # of a part, to find a repeated key early; all keys of a split are compared at the end


@dataclass(frozen=True)
class PrepareSpec:
    """A dataset to prepare. The folder's name holds the digest of all other fields, so only the folder is compared.

    Attributes:
        folder: of the prepared dataset.
        ref: the dataset component with its parameters.
        seed: the job's seed.
        degrade_once: offline degradations, applied when a sample is written.
    """

    folder: Path
    ref: ComponentRef = field(compare=False)
    seed: int = field(compare=False)
    degrade_once: tuple[DegradationEntry, ...] = field(compare=False, default=())


@dataclass(frozen=True)
class Part:
    """One part of a split, as `Dataset.parts` names it; parts are written independently of each other.

    Attributes:
        split: name of the split.
        number: position among the split's parts.
        name: of the part.
    """

    split: str
    number: int
    name: str

    def marker(self, folder: Path) -> Path:
        """Path of the file that is written when the part is finished."""
        return folder / self.split / f"{self.number:05d}.json"


@functools.lru_cache(maxsize=1)
def cached_dataset(spec: PrepareSpec) -> Dataset:
    """Builds the dataset, once in a process: a reader may parse a large table first."""
    dataset: Dataset = spec.ref.build(BuildContext(seed=spec.seed))
    return dataset


@functools.lru_cache(maxsize=1)
def cached_offline_chain(spec: PrepareSpec) -> Callable[[int], Chain]:
    """Builds the chain of offline degradations, once in a process."""
    from blear.data.prepare.offline_degradation import build_offline_chain  # imports torch

    return build_offline_chain(load_plugins(spec.ref.plugin_files), spec.degrade_once, spec.seed, cached_dataset(spec))


def use_one_thread() -> None:
    """Initialises a worker process: the processes alone use all cores."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for a torch that is imported later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def read_finished_part(spec: PrepareSpec, part: Part) -> PartInfo | None:
    """Reads the marker of a part that an earlier run finished; None if the marker or one of the shards is missing."""
    marker = part.marker(spec.folder)
    if not marker.is_file():
        return None
    info = PartInfo.model_validate_json(marker.read_bytes())  # complete, because it was renamed after writing
    shards = [(spec.folder / shard.name, shard.bytes) for shard in info.shards if not shard.place]
    complete = all(path.is_file() and path.stat().st_size == size for path, size in shards)
    complete &= all(is_prepared(shard, spec.folder) for shard in info.shards if shard.place)
    return info if info.part == part.name and complete else None


def write_part(spec: PrepareSpec, part: Part) -> PartInfo:
    """Reads a part of the raw data and writes its shards, or indexes a shard in place; then writes its marker.

    Raises:
        DataError: raised by the dataset, or a sample breaks the contract. All files of the part are deleted.
    """
    delete_part(spec, part)
    part.marker(spec.folder).parent.mkdir(parents=True, exist_ok=True)
    try:
        dataset = cached_dataset(spec)
        if isinstance(dataset, InPlace) and not spec.degrade_once:
            name = f"{part.split}/{part.number:05d}-000.tar"
            info = index_shard(spec.folder, name, part.split, part.name, dataset, dataset)
        else:
            with named_errors(spec.folder):
                info = _write_shards(spec, part)
        write_text(part.marker(spec.folder), info.model_dump_json(indent=1))
        return info
    finally:
        if not part.marker(spec.folder).is_file():  # also after Ctrl-C; with its marker the part is finished
            delete_part(spec, part)


def delete_part(spec: PrepareSpec, part: Part) -> None:
    """Deletes marker, shards and temporary files of a part."""
    part.marker(spec.folder).unlink(missing_ok=True)
    folder = spec.folder / part.split
    for pattern in (f"{part.number:05d}-*", f".{part.number:05d}*.partial"):
        for file in folder.glob(pattern):
            file.unlink()


def check_layout(first: Layout, other: Layout, where: str) -> None:
    """Checks that two samples of a split have equal layouts: decoded samples of a split share one array.

    Raises:
        DataError: the layouts differ.
    """
    if first != other:
        raise DataError(
            f"stored as {other}, earlier samples of the split as {first}", where, "give all samples one type"
        )


def _write_shards(spec: PrepareSpec, part: Part) -> PartInfo:
    layout: Layout | None = None
    shards: list[ShardInfo] = []
    targets = cached_dataset(spec).targets
    counts = {target.name: [0] * len(target.classes) for target in targets if target.kind == "class"}
    samples = _samples(spec, part)
    sample = next(samples, None)
    while sample is not None:
        layout = layout or Layout.of(sample)
        name = f"{part.split}/{part.number:05d}-{len(shards):03d}.tar"
        keys: set[str] = set()
        with ShardWriter(spec.folder / name) as shard:
            while sample is not None and shard.size < SHARD_BYTES and shard.samples < SHARD_SAMPLES:
                check_layout(layout, Layout.of(sample), f"{_place(spec, part)}, sample {sample.key}")
                if sample.key in keys:
                    raise _repeated_key(sample.key, _place(spec, part))
                keys.add(sample.key)
                shard.add(sample.key, encode_sample(sample))
                for target, per_class in counts.items():
                    per_class[cast("int", sample.targets[target])] += 1
                sample = next(samples, None)
            shards.append(shard.close(name))
    class_counts = {target: tuple(per_class) for target, per_class in counts.items()}
    return PartInfo(part=part.name, layout=layout, shards=tuple(shards), class_counts=class_counts)


def _samples(spec: PrepareSpec, part: Part) -> Iterator[Sample]:
    """Yields the checked samples of a part, with offline degradations applied."""
    if not spec.degrade_once:
        return _checked_samples(spec, part)
    from blear.data.prepare.offline_degradation import degrade_samples

    varied = cached_dataset(spec).clip.shortest is not None
    return degrade_samples(cached_offline_chain(spec), _checked_samples(spec, part), part.split, varied)


def _checked_samples(spec: PrepareSpec, part: Part) -> Iterator[Sample]:
    dataset, where = cached_dataset(spec), _place(spec, part)
    keys: set[str] = set()
    for sample in dataset.samples(part.split, part.name):
        check_sample(sample, dataset.clip, dataset.targets, where)
        if sample.key in keys:
            raise _repeated_key(sample.key, where)
        if len(keys) < _REMEMBERED_KEYS:
            keys.add(sample.key)
        yield sample


def _repeated_key(key: str, where: str) -> DataError:
    return DataError(f"key {key!r} comes twice", where, "keys must be unique within a split")


def _place(spec: PrepareSpec, part: Part) -> str:
    """Names the part in messages."""
    return f"{spec.ref.name}, split {part.split}, part {part.name}"
