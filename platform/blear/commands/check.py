"""`blear check JOB`."""

from __future__ import annotations

from pathlib import Path

import click

from blear.commands.options import job_options


@click.command()
@job_options
def check(job: Path, profile: str | None, overrides: tuple[str, ...]) -> None:
    """Check a job file: all errors at once, with their places; then that its degradations serve its frames."""
    from blear.job.reader import read_job

    checked, catalog = read_job(job, profile=profile, overrides=overrides)
    from blear.pipeline.dry_run import dry_run, stored_by  # imports torch

    stored, unknown = stored_by(checked, catalog)
    dry_run(checked, catalog, stored)
    for name, why in unknown.items():
        click.echo(f"data {name}: not looked at ({why}); whether its frames fit is seen once it is prepared")
    stages = ", ".join(checked.stages)
    click.echo(f"{job}: correct; {len(checked.stages)} stages: {stages}")
