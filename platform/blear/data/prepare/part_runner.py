"""Runs the writing of parts: as Ray tasks, in worker processes, or in this process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from types import FrameType

from blear.data.dataset_info import PartInfo
from blear.data.prepare import part_writer
from blear.data.prepare.part_writer import Part, PrepareSpec, read_finished_part, use_one_thread, write_part
from blear.errors import DataError
from blear.progress import track

FinishedParts = Generator[tuple[Part, PartInfo], None, None]

_ALONE_S = 1.0
"""Seconds for which this process writes parts without worker processes; about the time that these take to start."""


def run_parts(
    spec: PrepareSpec, name: str, parts: Sequence[Part], workers: int | None, use_ray: bool
) -> dict[Part, PartInfo]:
    """Writes the parts that no earlier run has finished.

    Args:
        spec: the dataset.
        name: of the dataset, for the progress bar.
        parts: of all splits.
        workers: processes; 1: only this one; None: this one, and one for each CPU if that takes long.
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
    if count <= 1:
        return _write_here(spec, parts)
    return _write_in_processes(spec, parts, count) if workers else _write_here_first(spec, parts, count)


def _write_here(spec: PrepareSpec, parts: Sequence[Part]) -> FinishedParts:
    for part in parts:
        yield part, write_part(spec, part)


def _write_in_processes(spec: PrepareSpec, parts: Sequence[Part], count: int) -> FinishedParts:
    with _worker_processes(spec, count) as pool:
        futures = _submit(pool, spec, parts)
        for future in as_completed(futures):
            yield futures[future], future.result()


def _write_here_first(spec: PrepareSpec, parts: Sequence[Part], count: int) -> FinishedParts:
    """Writes parts in this process; after `_ALONE_S` seconds, worker processes write those that are left.

    A small dataset is complete before worker processes have started.
    """
    left, lock = deque(parts), threading.Lock()
    futures: dict[Future[PartInfo], Part] = {}
    errors: list[Exception] = []

    def take(most: int) -> list[Part]:
        with lock:
            return [left.popleft() for _ in range(min(most, len(left)))]

    def submit_rest() -> None:
        try:
            futures.update(_submit(pool, spec, take(len(parts))))
        except Exception as error:  # noqa: BLE001  raised again below, in the caller's thread
            errors.append(error)

    with _worker_processes(spec, count) as pool:
        timer = threading.Timer(_ALONE_S, submit_rest)
        timer.start()
        try:
            while taken := take(1):
                yield taken[0], write_part(spec, taken[0])
        finally:
            timer.cancel()
            timer.join()
        for error in errors:
            raise error
        for future in as_completed(futures):
            yield futures[future], future.result()


@contextmanager
def _worker_processes(spec: PrepareSpec, count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes, which start when they get a part.

    Ctrl-C reaches this process alone, which ends the workers by SIGTERM: each deletes the files of its part.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([part_writer.__name__, "webdataset"])  # imported once for all workers
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, context, initializer=_initialise_worker, initargs=(dict(os.environ),))
    try:
        yield pool
    except BrokenProcessPool as error:
        where = f"{spec.ref.name}, one of {count} worker processes"
        raise DataError(
            "the process was killed, probably because memory ran out", where, "run it again with fewer workers"
        ) from error
    except (KeyboardInterrupt, GeneratorExit):
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, spec: PrepareSpec, parts: Sequence[Part]) -> dict[Future[PartInfo], Part]:
    with _blocked_sigint(), _main_module_hidden():  # the fork server and its processes inherit the block
        return {pool.submit(_write_in_worker, spec, part): part for part in parts}


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keeps worker processes from importing the main module, which multiprocessing does by its path.

    A user's script without `if __name__ == "__main__":` would start its work again in each of them.
    """
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    main.__file__ = main.__spec__ = None
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)
        if "__file__" not in hidden:  # an interactive session
            del main.__file__


@contextmanager
def _blocked_sigint() -> Iterator[None]:
    """Blocks SIGINT in this thread; a SIGINT that arrives meanwhile is delivered at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _initialise_worker(environment: dict[str, str]) -> None:
    """Gives a worker the current environment; the fork server has the one of its start."""
    os.environ.clear()
    os.environ.update(environment)
    use_one_thread()
    signal.signal(signal.SIGTERM, _end_worker)


def _end_worker(number: int, frame: FrameType | None) -> None:
    """Ends a worker at its first SIGTERM, with the clean-up of its part."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


def _write_in_worker(spec: PrepareSpec, part: Part) -> PartInfo:
    try:
        return write_part(spec, part)
    except SystemExit as error:  # the pool would catch it and give this worker the next part
        os._exit(error.code if isinstance(error.code, int) else 1)
