"""Writes the shards of one part of a split; runs in a worker process, a Ray task, or here."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from blear.contracts import BuildContext, Dataset, Sample
from blear.data.dataset_info import Layout, PartInfo, ShardInfo
from blear.data.shard.checks import check_sample
from blear.data.shard.sample_codec import encode_sample
from blear.data.shard.writer import ShardWriter
from blear.errors import DataError
from blear.plugin.component_ref import ComponentRef
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationEntry

if TYPE_CHECKING:
    from blear.degrade.chain import Chain

SHARD_BYTES = 64_000_000
SHARD_SAMPLES = 10_000


@dataclass(frozen=True)
class Work:
    """A dataset to prepare; the folder's name is the digest of all the rest, so it alone is compared.

    Attributes:
        degrade_once: degradations that act when a sample is written.
    """

    folder: Path
    ref: ComponentRef = field(compare=False)
    seed: int = field(compare=False)
    degrade_once: tuple[DegradationEntry, ...] = field(compare=False, default=())


@dataclass(frozen=True)
class Part:
    """One independent piece of a split."""

    split: str
    number: int
    name: str

    def marker(self, folder: Path) -> Path:
        """The file that says that the part is finished."""
        return folder / self.split / f"{self.number:05d}.json"


@functools.lru_cache(maxsize=1)
def built(work: Work) -> Dataset:
    """The dataset, built once in a process: a reader may have to parse a large table first."""
    dataset: Dataset = work.ref.build(BuildContext(seed=work.seed))
    return dataset


@functools.lru_cache(maxsize=1)
def built_once(work: Work) -> Chain:
    """What acts once on every sample."""
    from blear.data.prepare.offline_degradation import build_once  # imports torch, which most datasets do without

    return build_once(load_plugins(work.ref.plugin_files), work.degrade_once, work.seed, built(work))


def one_thread() -> None:
    """Start of a worker process: parallelism comes from processes."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for a torch that is imported later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def finished(work: Work, part: Part) -> PartInfo | None:
    """What an earlier run wrote of a part; None unless all of it is there."""
    marker = part.marker(work.folder)
    if not marker.is_file():
        return None
    info = PartInfo.model_validate_json(marker.read_bytes())  # written by rename: whole, or not there
    shards = [(work.folder / shard.name, shard.bytes) for shard in info.shards]
    whole = all(path.is_file() and path.stat().st_size == size for path, size in shards)
    return info if info.part == part.name and whole else None


def write_part(work: Work, part: Part) -> PartInfo:
    """Reads a part and writes its shards, and last its marker.

    Raises:
        DataError: of the dataset, or a sample breaks the contract. Nothing of the part stays then.
    """
    forget(work, part)
    part.marker(work.folder).parent.mkdir(parents=True, exist_ok=True)
    whole = False
    try:
        info = _write(work, part)
        save_text(part.marker(work.folder), info.model_dump_json(indent=1))
        whole = True
        return info
    finally:
        if not whole:  # also after Ctrl-C
            forget(work, part)


def forget(work: Work, part: Part) -> None:
    """Removes marker, shards and leftovers of a part."""
    part.marker(work.folder).unlink(missing_ok=True)
    for file in (work.folder / part.split).glob(f"{part.number:05d}-*"):
        file.unlink()


def save_text(file: Path, text: str) -> None:
    """Writes a file under a temporary name, then renames it."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def _write(work: Work, part: Part) -> PartInfo:
    layout: Layout | None = None
    shards: list[ShardInfo] = []
    counts = {target.name: [0] * len(target.classes) for target in built(work).targets if target.kind == "class"}
    samples = _degraded(work, part)
    sample = next(samples, None)
    while sample is not None:
        layout = layout or Layout.of(sample)
        name = f"{part.split}/{part.number:05d}-{len(shards):03d}.tar"
        with ShardWriter(work.folder / name) as shard:
            while sample is not None and shard.size < SHARD_BYTES and shard.samples < SHARD_SAMPLES:
                check_layout(layout, Layout.of(sample), f"{_where(work, part)}, sample {sample.key}")
                shard.add(sample.key, encode_sample(sample))
                for target, per_class in counts.items():
                    per_class[int(sample.targets[target])] += 1
                sample = next(samples, None)
            shards.append(shard.close(name))
    class_counts = {target: tuple(per_class) for target, per_class in counts.items()}
    return PartInfo(part=part.name, layout=layout, shards=tuple(shards), class_counts=class_counts)


def _checked(work: Work, part: Part) -> Iterator[Sample]:
    dataset, where, seen = built(work), _where(work, part), set()
    for sample in dataset.samples(part.split, part.name):
        check_sample(sample, dataset.clip, dataset.targets, where)
        if sample.key in seen:
            raise DataError(f"key {sample.key!r} comes twice", where, "keys must be unique within a split")
        seen.add(sample.key)
        yield sample


def _degraded(work: Work, part: Part) -> Iterator[Sample]:
    if not work.degrade_once:
        return _checked(work, part)
    from blear.data.prepare.offline_degradation import degraded

    varied = built(work).clip.shortest is not None
    return degraded(built_once(work), _checked(work, part), part.split, varied)


def check_layout(first: Layout, other: Layout, where: str) -> None:
    """All samples of a split are stored in one array, so types and clean shapes must agree.

    Raises:
        DataError: they differ.
    """
    if first != other:
        raise DataError(f"stored as {other}, but samples before it as {first}", where, "give all samples one form")


def _where(work: Work, part: Part) -> str:
    return f"{work.ref.name}, split {part.split}, part {part.name}"
