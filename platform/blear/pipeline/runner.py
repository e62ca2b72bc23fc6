"""Chooses where a job runs: in this process or on Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from blear.errors import RunError


def uses_ray(runner: str) -> bool:
    """Whether Ray is used: if `runner` is "ray", or if it is "auto" and RAY_ADDRESS is set, as in every Ray job."""
    return runner == "ray" or (runner == "auto" and bool(os.environ.get("RAY_ADDRESS")))


def require_linux() -> None:
    """Refuses other systems: decoded frames are shared between processes through Linux's memory files.

    Raises:
        RunError: this is not Linux.
    """
    if sys.platform != "linux":
        do = "use a Linux computer; on Windows, WSL 2; on a Mac, a Linux container"
        raise RunError("blear prepares, trains and evaluates on Linux only", sys.platform, do)


@contextlib.contextmanager
def ray_session(wanted: bool, *, local: bool = False) -> Iterator[None]:
    """Connects to Ray for the duration of the block, unless this process is connected already.

    Args:
        wanted: whether to use Ray at all.
        local: whether to start a cluster in this process instead of joining a running one.
    """
    if not wanted:
        yield
        return
    import ray

    already = ray.is_initialized()
    if not already:
        options: dict[str, Any] = {"address": "local", "include_dashboard": False} if local else {}
        ray.init(logging_level=logging.WARNING, **options)
    try:
        yield
    finally:
        if not already:
            ray.shutdown()
