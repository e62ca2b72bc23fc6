"""`blear check JOB`."""

from __future__ import annotations

from pathlib import Path

import click

from blear.commands.options import job_options


@click.command()
@job_options
@click.option("--digest", is_flag=True, help="only print the digest of the training, as model cards state it")
def check(job: Path, profile: str | None, overrides: tuple[str, ...], *, digest: bool) -> None:
    """Check a job file: report all errors with their positions, build every stage, and compute one step of each."""
    from blear.job.reader import read_job

    checked, catalog = read_job(job, profile=profile, overrides=overrides)
    if digest:
        from blear.job.training_digest import training_digest

        click.echo(training_digest(checked))
        return
    from blear.pipeline.data_facts import data_facts
    from blear.pipeline.dry_run import dry_run  # imports torch

    facts, unknown = data_facts(checked, catalog)
    for note in dry_run(checked, catalog, facts):
        click.echo(note)
    for name, why in unknown.items():
        click.echo(f"data {name}: frames not checked ({why}); they are checked when the data is prepared")
    stages = ", ".join(checked.stages)
    click.echo(f"{job}: correct; {len(checked.stages)} stages: {stages}")
