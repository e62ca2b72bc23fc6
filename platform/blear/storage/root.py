"""The folder of all runs and shards."""

from __future__ import annotations

import os
from pathlib import Path


def storage_root() -> Path:
    """Returns the folder that contains `runs/` and `shards/`.

    It is `$BLEAR_STORAGE` if that is set; `~/blear` in a Ray job, whose working directory is a temporary copy; else the
    working directory.
    """
    given = os.environ.get("BLEAR_STORAGE")
    if given:
        return Path(given).expanduser().resolve()
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        return Path.home() / "blear"
    return Path.cwd()
