"""The content of run.json: versions, host, data and components of a run."""

from __future__ import annotations

import datetime
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch

from blear.data.prepared import Prepared
from blear.job.schema import Job
from blear.plugin.catalog import Catalog
from blear.plugin.fingerprints import component_fingerprints

_DISTRIBUTION = "blear"


def utc_now() -> str:
    """Returns the time in UTC as ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def run_info(
    job: Job, catalog: Catalog, prepared: dict[str, str | Path], on_ray: bool, command: str, profile: str | None
) -> dict[str, Any]:
    """Returns the entries of run.json that describe how and with what a job was run.

    Args:
        job: the resolved job.
        catalog: the loaded plugins.
        prepared: name of data -> folder or URL of its shards.
        on_ray: whether stages are trained by Ray Train.
        command: the command line.
        profile: the job's profile that was chosen.
    """
    names = {("dataset", data.chosen[0]) for key, data in job.data.items() if key in prepared}
    names |= {("degradation", use.use) for use in job.degradations}
    for stage in job.stages.values():
        names |= stage.networks
    least, most = job.cluster.worker_range if on_ray else (1, 1)
    data = {}
    for name, folder in prepared.items():
        opened = Prepared.open(folder)
        data[name] = {
            "use": job.data[name].chosen[0],
            "for": job.data[name].use,
            "source": job.data[name].shards or job.data[name].source,
            "stand_in": job.data[name].uses_fallback,
            "terms": opened.terms,
            "counts": {split: opened.count(split) for split in opened.splits},
        }
    return {
        "name": job.name,
        "description": job.description,
        "started": utc_now(),
        "command": command,
        "profile": profile,
        "seed": job.seed,
        "seeds": job.seeds,
        "runner": "ray" if on_ray else "local",
        "world": least if least == most else [least, most],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "versions": {"python": platform.python_version()} | installed_versions(),
        "host": {"system": platform.system(), "machine": platform.machine(), "cpus": os.cpu_count()},
        "components": component_fingerprints(catalog, sorted(names)),
        "data": data,
    }


def installed_versions() -> dict[str, str]:
    """Returns name -> version of blear and of each distribution that it requires, installed extras included."""
    required = [re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requires(_DISTRIBUTION) or ()]
    found = {}
    for name in [_DISTRIBUTION, *required]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return found
