"""`blear prepare JOB` or `blear prepare DATASET [SOURCE]`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("target")
@click.argument("source", required=False)
@click.option("--profile", metavar="NAME", help="one of the job's profiles")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="a field of the job, or a parameter")
@click.option(
    "--workers", type=click.IntRange(1), help="processes; default: all cores (with RAY_ADDRESS set: Ray tasks)"
)
def prepare(
    target: str, source: str | None, profile: str | None, overrides: tuple[str, ...], workers: int | None
) -> None:
    """Write the shards of a job's data, or of one dataset read from SOURCE. Running it again continues."""
    from blear.driver import prepare_data, prepare_one
    from blear.jobfile import parse_set, read_job

    if Path(target).suffix in (".yaml", ".yml"):
        job, catalog = read_job(Path(target), profile=profile, overrides=overrides)
        for name, folder in prepare_data(job, catalog, workers=workers).items():
            click.echo(f"{name}: {folder}")
        return
    params = dict(parse_set(text) for text in overrides)
    click.echo(str(prepare_one(target, params | ({"source": source} if source else {}), workers=workers)))
