"""`blear data audit JOB|SHARDS`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console


@click.group()
def data() -> None:
    """Inspect prepared data."""


@data.command()
@click.argument("target")
@click.option("--profile", metavar="NAME", help="one of the job's profiles")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="override a field of the job")
@click.option(
    "--radius",
    type=click.IntRange(0, 7),
    default=3,
    show_default=True,
    help="largest number of the 64 hash bits in which near-duplicates differ",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="CSV file; one row for each sample that has a near-duplicate"
)
def audit(target: str, profile: str | None, overrides: tuple[str, ...], radius: int, out: Path | None) -> None:
    """Find near-duplicate images within and across the splits of a job's data, or of a folder or URL of shards."""
    from blear.data.audit.near_duplicates import find_near_duplicates, format_markdown, write_csv
    from blear.data.prepared import Prepared
    from blear.job.reader import read_job
    from blear.job.shipped_jobs import shipped_jobs
    from blear.pipeline.prepare import prepare_data
    from blear.terminal import print_markdown

    if Path(target).suffix in (".yaml", ".yml") or target in shipped_jobs():
        job, catalog = read_job(Path(target), profile=profile, overrides=overrides)
        places = {name: Prepared.open(place) for name, place in prepare_data(job, catalog).items()}
    else:
        opened = Prepared.open(target)
        places = {opened.name: opened}
    found = find_near_duplicates(places, radius)
    if out is not None:
        write_csv(found, out)
    print_markdown(format_markdown(found), Console())
