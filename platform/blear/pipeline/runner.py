"""Where a job runs: in this process, or on Ray."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator


def uses_ray(runner: str) -> bool:
    """Whether to use a Ray cluster: asked for, or RAY_ADDRESS names one, as inside every Ray job."""
    return runner == "ray" or (runner == "auto" and bool(os.environ.get("RAY_ADDRESS")))


@contextlib.contextmanager
def ray_session(wanted: bool, *, local: bool = False) -> Iterator[None]:
    """Ray within it, where it is wanted: the cluster that runs, or with `local` one of this process."""
    if not wanted:
        yield
        return
    import ray

    already = ray.is_initialized()
    if not already:
        ray.init(address="local" if local else None, logging_level=logging.WARNING)
    try:
        yield
    finally:
        if not already:
            ray.shutdown()
