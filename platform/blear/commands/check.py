"""`blear check JOB`."""

from __future__ import annotations

from pathlib import Path

import click

from blear.commands.options import job_options


@click.command()
@job_options
def check(job: Path, profile: str | None, overrides: tuple[str, ...]) -> None:
    """Check a job file, report all errors with their positions, and try its degradations on a blank clip."""
    from blear.job.reader import read_job

    checked, catalog = read_job(job, profile=profile, overrides=overrides)
    from blear.pipeline.dry_run import data_shapes, dry_run  # imports torch

    stored, unknown = data_shapes(checked, catalog)
    dry_run(checked, catalog, stored)
    for name, why in unknown.items():
        click.echo(f"data {name}: frames not checked ({why}); they are checked when the data is prepared")
    stages = ", ".join(checked.stages)
    click.echo(f"{job}: correct; {len(checked.stages)} stages: {stages}")
