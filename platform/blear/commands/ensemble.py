"""`blear ensemble RUN...`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN[:ARM]...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder to write")
@click.option(
    "--weights",
    default="equal",
    show_default=True,
    metavar="equal|search|W,W,...|FOLDER",
    help="search: on a validation split, cross-validated; FOLDER: those that an earlier ensemble found",
)
@click.option(
    "--score",
    type=click.Choice(["mean", "sum"]),
    default="mean",
    show_default=True,
    help="of a member in a clip: mean or sum of its rows' probabilities",
)
@click.option("--by", type=click.Choice(["sample", "video"]), help="what one decision is; default: as the runs have it")
def ensemble(
    runs: tuple[str, ...], out: Path, weights: str, score: Literal["mean", "sum"], by: Literal["sample", "video"] | None
) -> None:
    """Fuse the predictions of evaluated runs, all arms or one of each, and print what that gives.

    Writes predictions.parquet, summary.json and ensemble.json.
    """
    from blear.evaluate.ensemble.fusion import ensemble as fuse

    click.echo(fuse(runs, out, weights=weights, score=score, by=by))
