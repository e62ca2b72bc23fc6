"""`blear run JOB`."""

from __future__ import annotations

from pathlib import Path

import click

from blear.commands.options import command_line, job_options


@click.command()
@job_options
@click.option(
    "--runner",
    type=click.Choice(["auto", "local", "ray"]),
    default="auto",
    show_default=True,
    help="auto: Ray if RAY_ADDRESS is set, as in a Ray job, or if cluster.workers is above 1; else this process",
)
@click.option("--fresh", is_flag=True, help="delete an earlier run of the same name first")
def run(job: Path, profile: str | None, overrides: tuple[str, ...], runner: str, fresh: bool) -> None:
    """Run a job: prepare data, train stages, evaluate, report. Run the command again to resume."""
    from blear.job.reader import read_job
    from blear.pipeline.run import run_job

    checked, catalog = read_job(job, profile=profile, overrides=overrides)
    report = run_job(checked, catalog, runner=runner, fresh=fresh, command=command_line(), profile=profile)
    click.echo(str(report))
