"""Raw files -> shards: one task for each part of each split, in processes or as Ray tasks; a re-run continues."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

import blear
from blear.contracts import Dataset
from blear.data.dataset_info import DatasetInfo, Layout, PartInfo, SplitInfo
from blear.data.prepare.dataset_digest import dataset_digest
from blear.data.prepare.parts import (
    Part,
    Work,
    built,
    built_once,
    check_layout,
    finished,
    forget,
    one_thread,
    save_text,
    write_part,
)
from blear.data.prepared import Prepared
from blear.data.shard.archive import load_index
from blear.errors import DataError, PluginError
from blear.plugin.component_ref import ComponentRef
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationEntry
from blear.progress import track

Writing = Generator[tuple[Part, PartInfo], None, None]

_SPLIT = re.compile(r"[A-Za-z0-9_-]+")


def prepare(
    ref: ComponentRef,
    root: Path,
    *,
    version: str,
    seed: int = 0,
    degrade_once: Sequence[DegradationEntry] = (),
    workers: int | None = None,
    use_ray: bool = False,
) -> Prepared:
    """Shards of a dataset in `root/<plugin>-<component>-<digest>`; a complete folder is used as it is.

    Args:
        ref: the dataset component with its parameters.
        root: folder of all prepared datasets; with Ray on several nodes, one that all of them share.
        version: the plugin's version, part of the digest.
        seed: the job's seed, part of the digest.
        degrade_once: degradations that act when a sample is written, part of the digest.
        workers: processes; 1: in this one; None: one for each CPU.
        use_ray: run the parts as Ray tasks where Ray is up.

    Raises:
        PluginError: the component or its parameters are wrong.
        JobError: `degrade_once` changes the size of clips.
        DataError: of the dataset, or its samples break the contract.
    """
    catalog = load_plugins(ref.plugin_files)
    registered = catalog.get("dataset", ref.name)
    try:
        params = registered.params(ref.params)
    except ValidationError as error:
        raise PluginError(str(error), registered.name, f"see `blear plugins show {registered.name}`") from error
    once: list[dict[str, Any]] = []
    if degrade_once:
        from blear.data.prepare.offline_degradation import facts_of  # imports torch, which most datasets do without

        once = facts_of(catalog, degrade_once)
    digest = dataset_digest(registered.name, params, version, seed, once)
    folder = root.absolute() / f"{registered.name.replace('/', '-')}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    work = Work(folder, ref, seed, tuple(degrade_once))
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # another run may be preparing the same
        if (folder / "dataset.json").is_file():
            done = Prepared.open(folder)
            if done.complete():
                return done
        try:
            dataset = built(work)
            parts = _parts(registered.name, dataset)
            if degrade_once:
                built_once(work)  # what it refuses is known before a part is written
            found = _run(work, registered.name, parts, workers, use_ray)
            info = DatasetInfo(
                name=registered.name,
                version=version,
                blear=blear.__version__,
                seed=seed,
                params=params.model_dump(mode="json"),
                degrade_once=tuple(once),
                terms=dataset.terms,
                clip=dataset.clip,
                targets=tuple(dataset.targets),
                splits={split: _join(work, split, found) for split in dataset.splits},
            )
        finally:
            built.cache_clear()  # a reader may hold a large table
            built_once.cache_clear()
        save_text(folder / "dataset.json", info.model_dump_json(indent=1))
    return Prepared.open(folder)


def _parts(name: str, dataset: Dataset) -> list[Part]:
    bad = [split for split in dataset.splits if not _SPLIT.fullmatch(split) or split == "cache"]
    if bad or not dataset.splits:
        what = f"the splits are {list(dataset.splits)}"
        raise DataError(what, name, "name at least one, in letters, digits, '_', '-', and none 'cache'")
    return [Part(split, n, part) for split in dataset.splits for n, part in enumerate(dataset.parts(split))]


def _run(work: Work, name: str, parts: Sequence[Part], workers: int | None, use_ray: bool) -> dict[Part, PartInfo]:
    found = {part: info for part in parts if (info := finished(work, part)) is not None}
    todo = [part for part in parts if part not in found]
    with (
        track(f"prepare {name}", len(parts), len(found)) as bar,
        closing(_written(work, todo, workers, use_ray)) as new,
    ):
        for part, info in new:
            found[part] = info
            bar.advance(1, f"{part.split}/{part.name}")
    return {part: found[part] for part in parts}


def _written(work: Work, todo: Sequence[Part], workers: int | None, use_ray: bool) -> Writing:
    """Writes parts, yielding each as it is finished."""
    if use_ray and todo:
        import ray

        if ray.is_initialized():
            from blear.data.prepare.ray_tasks import written_by_ray

            return written_by_ray(work, todo)
    count = min(workers or os.cpu_count() or 1, len(todo))
    return _written_by_processes(work, todo, count) if count > 1 else _written_here(work, todo)


def _written_here(work: Work, todo: Sequence[Part]) -> Writing:
    for part in todo:
        yield part, write_part(work, part)


def _written_by_processes(work: Work, todo: Sequence[Part], count: int) -> Writing:
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=one_thread)
    try:
        parts = {pool.submit(write_part, work, part): part for part in todo}
        for future in as_completed(parts):
            yield parts[future], future.result()
    except BrokenProcessPool as error:
        where = f"{work.ref.name}, one of {count} worker processes"
        raise DataError("it was killed, mostly for want of memory", where, "run it again with fewer workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _join(work: Work, split: str, found: dict[Part, PartInfo]) -> SplitInfo:
    """One split of its parts; where they do not fit together they are forgotten, so that a re-run reads them again."""
    mine = {part: info for part, info in found.items() if part.split == split}
    try:
        return SplitInfo(
            layout=_common_layout(work, split, mine),
            shards=tuple(s for info in mine.values() for s in info.shards),
            class_counts=_class_counts(list(mine.values())),
        )
    except DataError:
        for part in mine:
            forget(work, part)
        raise


def _common_layout(work: Work, split: str, mine: dict[Part, PartInfo]) -> Layout:
    where = f"{work.ref.name}, split {split}"
    layouts = {part: info.layout for part, info in mine.items() if info.layout is not None}
    if not layouts:
        raise DataError("the split has no sample", where, "check the raw files and the dataset's parameters")
    first = next(iter(layouts.values()))
    seen: dict[str, str] = {}
    for part, layout in layouts.items():
        check_layout(first, layout, f"{where}, part {part.name}")
        for shard in mine[part].shards:
            for key in load_index(work.folder / shard.name).keys:
                if key in seen:
                    what = f"key {key!r} is in part {seen[key]} and in part {part.name}"
                    raise DataError(what, where, "keys must be unique within a split")
                seen[key] = part.name
    return first


def _class_counts(parts: Sequence[PartInfo]) -> dict[str, tuple[int, ...]]:
    """Class target -> samples of each class, summed over the parts; they all have the targets of one dataset."""
    return {
        target: tuple(sum(column) for column in zip(*(part.class_counts[target] for part in parts), strict=True))
        for target in parts[0].class_counts
    }
