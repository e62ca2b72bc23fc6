"""Lists the runs of a cluster and brings their files, through the job server."""

from __future__ import annotations

import datetime
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from ray.job_submission import JobDetails, JobStatus

from blear.cluster.job_server import JobServer, run_name
from blear.errors import RunError
from blear.progress import duration, echo
from blear.storage.run_archive import unpack_run

_PACKS = "blear fetch "  # begin of the command of jobs that pack a run; a run may have the name fetch-NAME


def cluster_runs(address: str | None) -> list[list[str]]:
    """Rows (run, state, submission, started, duration, message) of the runs that were submitted to a cluster.

    One row for each run: its newest submission.
    """
    newest: dict[str, JobDetails] = {}
    for job in JobServer(address).all_jobs():
        name = run_name(job.submission_id)
        if name is not None and not (job.entrypoint or "").startswith(_PACKS):
            newest[name] = job
    return [[name, *_describe(job)] for name, job in sorted(newest.items())]


def _describe(job: JobDetails) -> Sequence[str]:
    start, end = (None if at is None else at / 1000 for at in (job.start_time, job.end_time))
    started = "" if start is None else f"{datetime.datetime.fromtimestamp(start, datetime.UTC):%Y-%m-%d %H:%M}"
    took = "" if start is None else duration((end or time.time()) - start)
    failed = job.status == JobStatus.FAILED
    message = (job.message or "").splitlines()[0].split(", last available logs")[0] if failed and job.message else ""
    return str(job.status.value).lower(), str(job.submission_id), started, took, message


def fetch_run(name: str, *, address: str | None, target: Path, weights: bool) -> list[Path]:
    """Brings the report and the tables of a run from the cluster's storage.

    A job of the cluster, which needs no resources, prints the files as text into its log.

    Args:
        name: name of the run.
        address: URL of the job server; None: RAY_API_SERVER_ADDRESS or RAY_ADDRESS.
        target: the folder to write to.
        weights: also brings the final weights of the stages.

    Returns:
        The paths of the written files.

    Raises:
        RunError: the cluster has no such run, or its files did not arrive.
    """
    server = JobServer(address)
    command = f"{_PACKS}{shlex.join([name, '--pack', *(['--weights'] if weights else [])])}"
    job_id = server.start(f"fetch-{name}-{int(time.time())}", command, {})
    echo(f"{job_id} on {server.address} packs the run")
    details = server.wait(job_id)
    log = server.log(job_id)
    if details.status != JobStatus.SUCCEEDED:
        lines = [line.removeprefix("blear: ") for line in log.splitlines() if line.strip()]
        what = f"the cluster could not pack the run: {lines[0] if lines else details.message}"
        raise RunError(what, server.address, "`blear runs --address URL` lists the runs")
    return unpack_run(log, target)
