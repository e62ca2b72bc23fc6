"""`blear jobs`, `blear jobs copy NAME`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

import click


@click.group(invoke_without_command=True)
@click.pass_context
def jobs(context: click.Context) -> None:
    """List the jobs that come with blear. `blear run NAME` runs one from any folder."""
    if context.invoked_subcommand is not None:
        return
    from blear.job.shipped_jobs import job_summary, shipped_jobs

    found = shipped_jobs()
    first = max(map(len, found)) + 2
    width = max(60, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 10_000
    for name, file in found.items():
        click.echo(f"{name:<{first}}{textwrap.shorten(job_summary(file), width - first, placeholder=' ...')}")


@jobs.command()
@click.argument("name")
@click.argument("target", required=False, default=".", type=click.Path(path_type=Path))
def copy(name: str, target: Path) -> None:
    """Copy the job NAME into the folder TARGET, or to the file TARGET, to change it. Default: the working folder."""
    from blear.job.shipped_jobs import copy_job

    click.echo(copy_job(name, target))
