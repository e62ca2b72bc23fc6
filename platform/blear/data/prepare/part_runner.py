"""Runs the writing of parts: as Ray tasks, in worker processes, or in this process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing

from blear.data.dataset_info import PartInfo
from blear.data.prepare.part_writer import Part, PrepareSpec, read_finished_part, use_one_thread, write_part
from blear.errors import DataError
from blear.progress import track

FinishedParts = Generator[tuple[Part, PartInfo], None, None]


def run_parts(
    spec: PrepareSpec, name: str, parts: Sequence[Part], workers: int | None, use_ray: bool
) -> dict[Part, PartInfo]:
    """Writes the parts that no earlier run has finished.

    Args:
        spec: the dataset.
        name: of the dataset, for the progress bar.
        parts: of all splits.
        workers: processes; 1: only this one; None: one for each CPU.
        use_ray: run the parts as Ray tasks where Ray is initialised.

    Returns:
        Part -> its shards, in the order of `parts`.
    """
    finished = {part: info for part in parts if (info := read_finished_part(spec, part)) is not None}
    missing = [part for part in parts if part not in finished]
    with (
        track(f"prepare {name}", len(parts), len(finished)) as bar,
        closing(_write_parts(spec, missing, workers, use_ray)) as written,
    ):
        for part, info in written:
            finished[part] = info
            bar.advance(1, f"{part.split}/{part.name}")
    return {part: finished[part] for part in parts}


def _write_parts(spec: PrepareSpec, parts: Sequence[Part], workers: int | None, use_ray: bool) -> FinishedParts:
    """Writes parts, yielding each as it is finished."""
    if use_ray and parts:
        import ray

        if ray.is_initialized():
            from blear.data.prepare.ray_tasks import write_parts_on_ray

            return write_parts_on_ray(spec, parts)
    count = min(workers or os.cpu_count() or 1, len(parts))
    return _write_in_processes(spec, parts, count) if count > 1 else _write_here(spec, parts)


def _write_here(spec: PrepareSpec, parts: Sequence[Part]) -> FinishedParts:
    for part in parts:
        yield part, write_part(spec, part)


def _write_in_processes(spec: PrepareSpec, parts: Sequence[Part], count: int) -> FinishedParts:
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=use_one_thread)
    try:
        futures = {pool.submit(write_part, spec, part): part for part in parts}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        where = f"{spec.ref.name}, one of {count} worker processes"
        raise DataError(
            "the process was killed, probably because memory ran out", where, "run it again with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
