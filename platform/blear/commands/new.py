"""`blear new --folders DIR`, `--table FILE`, `--webdataset URL`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--folders", metavar="DIR", help="pictures in class folders: DIR/CLASS/... or DIR/SPLIT/CLASS/...")
@click.option("--table", metavar="FILE", help="csv, tsv, JSON Lines or Parquet with columns of paths and labels")
@click.option("--webdataset", metavar="URL", help="shards of WebDataset: a folder, a brace list or a URL")
@click.option("--target", metavar="NAME[=COLUMN]", help="the label to train on; default: the one that is found")
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="a parameter of the dataset: size=64")
@click.option("--out", type=click.Path(path_type=Path), default="job.yaml", show_default=True, help="the job file")
def new(
    folders: str | None,
    table: str | None,
    webdataset: str | None,
    target: str | None,
    overrides: tuple[str, ...],
    out: Path,
) -> None:
    """Look into pictures of your own and write a job for them: size, network and number of steps for this machine."""
    from blear.job.overrides import parse_override
    from blear.pipeline.new_job import write_new_job

    given = {"folders": folders, "table": table, "webdataset": webdataset}
    sources = {use: source for use, source in given.items() if source is not None}
    if len(sources) != 1:
        raise click.UsageError("give one of --folders, --table and --webdataset")
    ((use, source),) = sources.items()
    params = {"source": source} | dict(parse_override(text) for text in overrides)
    for line in write_new_job(use, params, target, out):
        click.echo(line)
