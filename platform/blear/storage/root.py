"""Where runs and shards lie."""

from __future__ import annotations

import os
from pathlib import Path


def storage_root() -> Path:
    """`$BLEAR_STORAGE`; inside a Ray job `~/blear` (its working directory is a throw-away copy); else this folder."""
    given = os.environ.get("BLEAR_STORAGE")
    if given:
        return Path(given).expanduser().resolve()
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        return Path.home() / "blear"
    return Path.cwd()
