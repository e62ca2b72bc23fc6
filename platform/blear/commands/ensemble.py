"""`blear ensemble RUN...`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
from rich.console import Console


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN[:ARM]...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--weights",
    default="equal",
    show_default=True,
    metavar="equal|search|W,W,...|FOLDER",
    help="search: grid search on a validation split, cross-validated. FOLDER: the weights of an earlier ensemble.",
)
@click.option(
    "--score",
    type=click.Choice(["mean", "sum"]),
    default="mean",
    show_default=True,
    help="Score of a member for a clip: mean or sum of the probabilities of its rows.",
)
@click.option(
    "--by",
    type=click.Choice(["sample", "video"]),
    help="Unit of one decision. Default: the unit of the runs' evaluations.",
)
def ensemble(
    runs: tuple[str, ...], out: Path, weights: str, score: Literal["mean", "sum"], by: Literal["sample", "video"] | None
) -> None:
    """Fuse the predictions of evaluated runs, all arms or one arm of each, and print the results.

    Writes predictions.parquet, summary.json and ensemble.json.
    """
    from blear.evaluate.ensemble.fusion import fuse_runs
    from blear.terminal import print_markdown

    print_markdown(fuse_runs(runs, out, weights=weights, score=score, by=by), Console())
