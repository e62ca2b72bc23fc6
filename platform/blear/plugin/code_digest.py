"""The digest of blear's own code, which is equal on all nodes of a job: a version number covers many states of it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from blear.errors import PluginError

Result = TypeVar("Result")


@functools.cache
def code_digest() -> str:
    """SHA-256 of the Python files of blear and of the plugins that its distribution holds, in hexadecimal digits."""
    points = importlib.metadata.entry_points(group="blear")
    own = {point.module.split(".")[0] for point in points if point.dist is not None and point.dist.name == "blear"}
    digest = hashlib.sha256()
    for package in sorted({"blear", *own}):
        spec = importlib.util.find_spec(package)
        for folder in map(Path, (spec.submodule_search_locations or ()) if spec is not None else ()):
            for file in sorted(folder.rglob("*.py")):
                digest.update(f"{package}/{file.relative_to(folder).as_posix()}\n".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def require_code(expected: str) -> None:
    """Compares this process's code of blear with that of the process that started the job.

    Args:
        expected: `code_digest` where the job was started.

    Raises:
        PluginError: they differ.
    """
    if code_digest() != expected:
        what = f"the code of blear differs from that where the job was started (version {_version()} here)"
        do = "install the same wheel on every machine, or submit the job from the cluster's head"
        raise PluginError(what, f"node {socket.gethostname()}", do)


def call_with_code(expected: str, function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function if this process has the expected code, see `require_code`."""
    require_code(expected)
    return function(*arguments)


def _version() -> str:
    import blear

    return blear.__version__
