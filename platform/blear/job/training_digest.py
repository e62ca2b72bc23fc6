"""The digest of a job's training: equal for everyone who trains the same job on the same data."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Any

from blear.job.schema import Job
from blear.storage.remote import is_url

_LEFT_OUT = {"name": True, "description": True, "evaluate": True, "search": True, "trackers": True, "profiles": True}
_DATA = {"source", "shards", "stand_in"}
_STAGE = {"log_every", "checkpoint_every", "profile_steps", "audit"}


def training_digest(job: Job) -> str:
    """Returns the SHA-256 of what a resolved job trains, as JSON with sorted keys and without default values.

    It contains seeds, plugins, data, stages and `cluster.precision`. It does not contain name and description,
    the evaluation, the search, the trackers, other resources, the places of the data (`source`, `shards`) with their
    fallbacks, and how often a stage logs and writes checkpoints. A one-file plugin counts by its file name, a file of
    weights by its `sha256`. Of any other file or folder, only its presence counts.
    """
    values = job.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=_LEFT_OUT)
    for section, left_out in (("data", _DATA), ("stages", _STAGE)):
        for entry in values[section].values():
            for key in left_out & entry.keys():
                del entry[key]
    values["cluster"] = {"precision": job.cluster.precision}
    if job.plugins:
        values["plugins"] = [PurePath(plugin).name for plugin in job.plugins]
    return hashlib.sha256(json.dumps(_without_places(values), sort_keys=True).encode()).hexdigest()


def _without_places(value: Any) -> Any:
    """Removes `file` beside a `sha256`, given or not, and replaces URLs and absolute paths by one word.

    The reader of a job has made all paths absolute.
    """
    if isinstance(value, dict):
        return {key: _without_places(one) for key, one in value.items() if key != "file" or "sha256" not in value}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    return "path" if isinstance(value, str) and (is_url(value) or PurePath(value).is_absolute()) else value
