"""`blear prepare JOB` or `blear prepare DATASET [SOURCE]`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("target")
@click.argument("source", required=False)
@click.option("--profile", metavar="NAME", help="one of the job's profiles")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="set a field of the job, or a parameter of the dataset",
)
@click.option("--describe", is_flag=True, help="describe DATASET and the data in SOURCE, and write nothing")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="number of processes; default: all cores, or Ray tasks where RAY_ADDRESS is set",
)
def prepare(
    target: str,
    source: str | None,
    profile: str | None,
    overrides: tuple[str, ...],
    describe: bool,
    workers: int | None,
) -> None:
    """Write the shards of a job's data, or of one dataset read from SOURCE. A second run continues the first."""
    from blear.job.overrides import parse_override
    from blear.job.reader import read_job
    from blear.job.shipped_jobs import shipped_jobs
    from blear.pipeline.prepare import describe_one, prepare_data, prepare_one

    if Path(target).suffix in (".yaml", ".yml") or target in shipped_jobs():
        if describe:
            raise click.UsageError("--describe needs a dataset, not a job")
        job, catalog = read_job(Path(target), profile=profile, overrides=overrides)
        for name, folder in prepare_data(job, catalog, workers=workers).items():
            click.echo(f"{name}: {folder}")
        return
    params = dict(parse_override(text) for text in overrides) | ({"source": source} if source else {})
    if describe:
        for line in describe_one(target, params):
            click.echo(line)
        return
    click.echo(str(prepare_one(target, params, workers=workers)))
