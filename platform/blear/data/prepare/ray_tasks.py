"""Writes parts as Ray tasks; imported only where Ray is initialised."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import ray

from blear.data.dataset_info import PartInfo
from blear.data.prepare.cancel_tasks import cancel_tasks
from blear.data.prepare.part_writer import Part, PrepareSpec, write_part
from blear.errors import DataError
from blear.plugin.code_digest import call_with_code, code_digest


def write_parts_on_ray(spec: PrepareSpec, parts: Sequence[Part]) -> Generator[tuple[Part, PartInfo], None, None]:
    """Writes parts in any order, yielding each as it is finished. On an error or Ctrl-C, the other tasks are cancelled.

    Raises:
        DataError: a Ray worker was lost; any other exception of a task is raised unchanged.
    """
    task, code = ray.remote(call_with_code), code_digest()
    part_of_ref = {task.remote(code, write_part, spec, part): part for part in parts}
    waiting = list(part_of_ref)
    try:
        while waiting:
            done, waiting = ray.wait(waiting)
            for ref in done:
                yield part_of_ref[ref], ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        where, do = f"{spec.ref.name}, a Ray task", "see the cluster's log, fix it and run it again: it continues"
        raise DataError(f"a worker was lost: {error}", where, do) from error
    finally:
        cancel_tasks(waiting)
