"""`blear check JOB`."""

from __future__ import annotations

from pathlib import Path

import click

from blear.commands.options import job_options


@click.command()
@job_options
def check(job: Path, profile: str | None, overrides: tuple[str, ...]) -> None:
    """Check a job file: all errors at once, with their places."""
    from blear.jobfile import read_job

    checked, _ = read_job(job, profile=profile, overrides=overrides)
    stages = ", ".join(checked.stages)
    click.echo(f"{job}: correct; {len(checked.stages)} stages: {stages}")
