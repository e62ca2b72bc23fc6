"""The folder of all runs and shards."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def storage_url() -> str | None:
    """Returns `$BLEAR_STORAGE` if it is a URL, for example `s3://bucket/path`; else None."""
    given = os.environ.get("BLEAR_STORAGE", "")
    return given.rstrip("/") if "://" in given else None


def storage_root() -> Path:
    """Returns the folder that contains `runs/` and `shards/`.

    It is `$BLEAR_STORAGE` if that is a folder; where it is a URL, this machine's copy, in `$BLEAR_CACHE/storage`.
    Without `$BLEAR_STORAGE`: `~/blear` in a Ray job, whose working directory is a temporary copy; else the working
    directory.
    """
    url = storage_url()
    if url is not None:
        cache = os.environ.get("BLEAR_CACHE")
        base = Path(cache).expanduser() if cache else Path.home() / ".cache" / "blear"
        return base.resolve() / "storage" / hashlib.sha256(url.encode()).hexdigest()[:16]
    given = os.environ.get("BLEAR_STORAGE")
    if given:
        return Path(given).expanduser().resolve()
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        return Path.home() / "blear"
    return Path.cwd()
