"""Writes parts as Ray tasks; imported only where Ray is up."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import ray

from blear.data.dataset_info import PartInfo
from blear.data.prepare.parts import Part, Work, write_part
from blear.errors import DataError

_STOP_S = 30.0


def written_by_ray(work: Work, todo: Sequence[Part]) -> Generator[tuple[Part, PartInfo], None, None]:
    """Writes parts in any order, yielding each as it is finished; on an error or Ctrl-C the others are stopped.

    Raises:
        DataError: a worker was lost; else whatever a task raised, as it was raised there.
    """
    task = ray.remote(write_part)
    parts = {task.remote(work, part): part for part in todo}
    waiting = list(parts)
    try:
        while waiting:
            done, waiting = ray.wait(waiting)
            for ref in done:
                yield parts[ref], ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        where, do = f"{work.ref.name}, a Ray task", "see the cluster's log, mend it and run it again: it continues"
        raise DataError(f"a worker was lost: {error}", where, do) from error
    finally:
        for ref in waiting:
            ray.cancel(ref)
        if waiting:  # so that what they wrote is removed before the caller goes on
            ray.wait(waiting, num_returns=len(waiting), timeout=_STOP_S)
