"""`blear submit JOB`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from blear.commands.options import job_options


@click.command()
@job_options
@click.option(
    "--address", metavar="URL", help="URL of the cluster's job server; default: RAY_API_SERVER_ADDRESS or RAY_ADDRESS"
)
@click.option(
    "--working-dir",
    type=click.Path(path_type=Path),
    default=Path(),
    help="folder to upload, without the files of .gitignore; default: the current folder",
)
@click.option("--fresh", is_flag=True, help="delete an earlier run of the same name first")
@click.option("--detach", is_flag=True, help="return after the submission, without following the log")
def submit(
    job: Path,
    profile: str | None,
    overrides: tuple[str, ...],
    address: str | None,
    working_dir: Path,
    fresh: bool,
    detach: bool,
) -> None:
    """Run a job on a Ray cluster and follow its log. The same command joins a running job, or continues an ended one.

    Exit code: 0 if the job succeeded, 143 if it was stopped, else the job's own.
    """
    from blear.cluster.submit import submit_job

    code = submit_job(
        job, address=address, profile=profile, overrides=overrides, folder=working_dir, fresh=fresh, detach=detach
    )
    sys.exit(code)
