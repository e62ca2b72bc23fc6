"""`blear.run`: a job from raw data to report, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from blear.job.reader import read_job
from blear.pipeline.finished_run import Run
from blear.pipeline.run import run_job
from blear.storage.root import storage_root
from blear.storage.run_log import log_error, stop_logging


def run(
    job: str | Path,
    *,
    profile: str | None = None,
    set: Mapping[str, Any] | None = None,
    runner: Literal["auto", "local", "ray"] = "auto",
    fresh: bool = False,
) -> Run:
    """Runs a job from raw data to report, as `blear run` does; an earlier run of the same name is continued.

    Example:
        run = blear.run("vlqr", profile="demo", set={"stages.joint.steps": 100})

    Args:
        job: path of a job file, or name of a job that comes with blear (`blear jobs`).
        profile: one of the job's profiles.
        set: path of a field -> value, applied after the profile.
        runner: "local": in this process; "ray": on Ray; "auto": on Ray if RAY_ADDRESS is set, or if the job has more
            than one worker.
        fresh: whether an earlier run of the same name is deleted first.

    Returns:
        The run, which lies in `runs/NAME` below `$BLEAR_STORAGE`, else below the working directory.

    Raises:
        BlearError: the job, a plugin, the data or the run folder cannot be used.
    """
    checked, catalog = read_job(Path(job), profile=profile, overrides=dict(set or {}))
    command = f"blear.run({str(job)!r})"
    try:
        run_job(checked, catalog, runner=runner, fresh=fresh, command=command, profile=profile)
    except Exception:
        log_error()
        raise
    finally:
        stop_logging()  # later records of the caller's process do not belong to this run
    return Run(storage_root() / "runs" / checked.name)
