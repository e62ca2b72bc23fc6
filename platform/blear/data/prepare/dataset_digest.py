"""The digest that names a prepared dataset's folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from blear.contracts import Params
from blear.data.dataset_info import FORMAT


def dataset_digest(name: str, params: Params, version: str, seed: int, once: Sequence[Any] = ()) -> str:
    """Twelve hex digits over component, parameters, plugin version, seed, and the state of every path among them.

    Args:
        once: what is known of the degradations that act when samples are written.
    """
    facts = {
        "format": FORMAT,
        "name": name,
        "params": params.model_dump(mode="json"),
        "version": version,
        "seed": seed,
        "paths": {str(path): _state(path) for path in _paths(params.model_dump())},
    }
    if once:
        facts["degrade_once"] = once
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _paths(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _paths(inner)


def _state(path: Path) -> list[tuple[str, int, int]]:
    """(name relative to `path`, size, time of change in ns) of a file, or of all files below a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [(file.relative_to(path).as_posix(), file.stat()) for file in files if file.is_file()]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]
