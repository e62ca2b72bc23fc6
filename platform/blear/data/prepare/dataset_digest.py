"""Computes the digest in the name of a prepared dataset's folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blear.contracts import Params
from blear.folders import files_below

_SHARD_FORMAT = 2  # of the samples in the shards; a new number prepares every dataset again


def dataset_digest(name: str, params: Params, version: str, seed: int, degradations: Sequence[Any] = ()) -> str:
    """Computes the digest of a dataset, which changes with the state of every raw file (`Params.raw_files`).

    Args:
        name: of the component.
        params: of the component.
        version: of the plugin.
        seed: the job's seed.
        degradations: records of the offline degradations.

    Returns:
        Twelve hex digits of a SHA-256.
    """
    content = {
        "format": _SHARD_FORMAT,
        "name": name,
        "params": params.model_dump(mode="json"),
        "version": version,
        "seed": seed,
        "paths": {str(path): _state(path) for path in params.raw_files()},
    }
    if degradations:
        content["degrade_once"] = degradations
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Lists (name relative to `path`, size, modification time in ns) of a file, or of all files below a folder.

    Symbolic links are followed, as readers do. The files that macOS adds to a folder when it shows or copies it
    (`.DS_Store`, `._NAME`) are left out, and folders that cannot be read: the reader reports them.
    """
    files = sorted(files_below(path, skip=None, unreadable="skip")) if path.is_dir() else [path]
    states = [
        (file.relative_to(path).as_posix(), file.stat())
        for file in files
        if file.is_file() and file.name != ".DS_Store" and not file.name.startswith("._")
    ]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]
