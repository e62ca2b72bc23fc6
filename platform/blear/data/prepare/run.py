"""Prepares a dataset: writes the shards of every part of every split, then `dataset.json`. A second run continues."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

import blear
from blear.contracts import Dataset, Framed, GreyRange, InPlace
from blear.data.dataset_info import FORMAT, IN_PLACE_FORMAT, DatasetInfo, Layout, PartInfo, SplitInfo
from blear.data.in_place.index_part import UNPACKED
from blear.data.in_place.local_shards import local_copy
from blear.data.prepare.dataset_digest import dataset_digest
from blear.data.prepare.part_runner import run_parts
from blear.data.prepare.part_writer import (
    Part,
    PrepareSpec,
    cached_dataset,
    cached_offline_chain,
    check_layout,
    delete_part,
)
from blear.data.prepare.repeated_keys import find_repeated_key
from blear.data.prepared import Prepared
from blear.data.shard.archive import read_index
from blear.errors import DataError
from blear.plugin.catalog import Catalog
from blear.plugin.component_ref import ComponentRef
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationEntry
from blear.storage.run_folder import write_text

_SPLIT = re.compile(r"[A-Za-z0-9_-]+")


def prepare_dataset(
    ref: ComponentRef,
    root: Path,
    *,
    version: str,
    seed: int = 0,
    degrade_once: Sequence[DegradationEntry] = (),
    workers: int | None = None,
    use_ray: bool = False,
) -> Prepared:
    """Writes the shards of a dataset to `root/<plugin>-<component>-<digest>`; a complete folder is returned unchanged.

    Args:
        ref: the dataset component with its parameters.
        root: folder of all prepared datasets; with Ray on several nodes, a folder that all of them share.
        version: the plugin's version, part of the digest.
        seed: the job's seed, part of the digest.
        degrade_once: offline degradations, applied when a sample is written; part of the digest.
        workers: processes; 1: only this one; None: this one, and one for each CPU if that takes long.
        use_ray: run the parts as Ray tasks where Ray is initialised.

    Raises:
        PluginError: the component or its parameters are wrong.
        JobError: `degrade_once` changes the size of clips.
        DataError: raised by the dataset, or its samples break the contract.
    """
    catalog = load_plugins(ref.plugin_files)
    registered = catalog.get("dataset", ref.name)
    params = registered.checked_params(ref.params)
    degradations = _degradations(catalog, degrade_once)
    folder = root.absolute() / prepared_name(ref, version=version, seed=seed, degrade_once=degrade_once)
    folder.mkdir(parents=True, exist_ok=True)
    spec = PrepareSpec(folder, ref, seed, tuple(degrade_once))
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # another run may prepare the same dataset
        if (folder / "dataset.json").is_file():
            prepared = Prepared.open(folder)
            if prepared.complete():
                return prepared
        try:
            dataset = cached_dataset(spec)
            if isinstance(dataset, InPlace):
                spec = _completed(spec, dataset)
                params, dataset = registered.checked_params(spec.ref.params), cached_dataset(spec)
            parts = _list_parts(registered.name, dataset)
            if degrade_once:
                cached_offline_chain(spec)  # raises before the first part is written
            finished = run_parts(spec, registered.name, parts, workers, use_ray)
            splits = {split: _join_parts(spec, split, finished) for split in dataset.splits}
            elsewhere = any(shard.place for split in splits.values() for shard in split.shards)
            info = DatasetInfo(
                format=IN_PLACE_FORMAT if elsewhere else FORMAT,
                name=registered.name,
                version=version,
                blear=blear.__version__,
                seed=seed,
                params=params.model_dump(mode="json"),
                degrade_once=tuple(degradations),
                terms=dataset.terms,
                framing=dataset.framing if isinstance(dataset, Framed) else None,
                grey_range=dataset.grey_range if isinstance(dataset, GreyRange) else "full",
                clip=dataset.clip,
                targets=tuple(dataset.targets),
                splits=splits,
            )
        finally:
            cached_dataset.cache_clear()  # a reader may hold a large table
            cached_offline_chain.cache_clear()
        write_text(folder / "dataset.json", info.model_dump_json(indent=1))
    return Prepared.open(folder)


def prepared_name(
    ref: ComponentRef, *, version: str, seed: int = 0, degrade_once: Sequence[DegradationEntry] = ()
) -> str:
    """Returns the name of the folder of a prepared dataset; arguments and errors as in `prepare_dataset`."""
    catalog = load_plugins(ref.plugin_files)
    registered = catalog.get("dataset", ref.name)
    params = registered.checked_params(ref.params)
    digest = dataset_digest(registered.name, params, version, seed, _degradations(catalog, degrade_once))
    return f"{registered.name.replace('/', '-')}-{digest}"


def _degradations(catalog: Catalog, degrade_once: Sequence[DegradationEntry]) -> list[dict[str, Any]]:
    """Returns the records of offline degradations for dataset.json."""
    if not degrade_once:
        return []
    from blear.data.prepare.offline_degradation import degradation_records  # imports torch

    return degradation_records(catalog, degrade_once)


def _completed(spec: PrepareSpec, dataset: InPlace) -> PrepareSpec:
    """Adds the parameters that the shards determine, so that no worker reads the shards again for them."""
    found = dataset.completed(lambda place: local_copy(place, spec.folder / UNPACKED))
    cached_dataset.cache_clear()
    return replace(spec, ref=replace(spec.ref, params={**spec.ref.params, **found}))


def _list_parts(name: str, dataset: Dataset) -> list[Part]:
    invalid = [split for split in dataset.splits if not _SPLIT.fullmatch(split) or split == "cache"]
    if invalid or not dataset.splits:
        what = f"the splits are {list(dataset.splits)}"
        raise DataError(what, name, "name at least one, in letters, digits, '_', '-', and none 'cache'")
    return [Part(split, n, part) for split in dataset.splits for n, part in enumerate(dataset.parts(split))]


def _join_parts(spec: PrepareSpec, split: str, finished: Mapping[Part, PartInfo]) -> SplitInfo:
    """Joins the parts of one split. Parts that contradict each other are deleted, so that the next run reads them."""
    parts = {part: info for part, info in finished.items() if part.split == split}
    try:
        return SplitInfo(
            layout=_check_parts(spec, split, parts),
            shards=tuple(shard for info in parts.values() for shard in info.shards),
            class_counts=_sum_class_counts(list(parts.values())),
        )
    except DataError:
        for part in parts:
            delete_part(spec, part)
        raise


def _check_parts(spec: PrepareSpec, split: str, parts: Mapping[Part, PartInfo]) -> Layout:
    """Checks that the layouts are equal and the keys unique; returns the layout."""
    where = f"{spec.ref.name}, split {split}"
    layouts = {part: info.layout for part, info in parts.items() if info.layout is not None}
    if not layouts:
        raise DataError("the split has no sample", where, "check the raw files and the dataset's parameters")
    first = next(iter(layouts.values()))
    for part, layout in layouts.items():
        check_layout(first, layout, f"{where}, part {part.name}")

    def keys() -> Iterator[tuple[str, Sequence[str]]]:
        for part in layouts:
            for shard in parts[part].shards:
                yield part.name, read_index(spec.folder, shard).keys

    samples = sum(shard.samples for part in layouts for shard in parts[part].shards)
    repeated = find_repeated_key(keys, samples, spec.folder)
    if repeated is not None:
        key, one, other = repeated
        what = f"key {key!r} is in part {one} and in part {other}" if one != other else f"key {key!r} is twice in {one}"
        raise DataError(what, where, "keys must be unique within a split")
    return first


def _sum_class_counts(parts: Sequence[PartInfo]) -> dict[str, tuple[int, ...]]:
    """Class target -> number of samples of each class, summed over the parts, which all have the same targets."""
    return {
        target: tuple(sum(column) for column in zip(*(part.class_counts[target] for part in parts), strict=True))
        for target in parts[0].class_counts
    }
