"""`blear evaluate RUN`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--cluster", is_flag=True, help="evaluate in tasks of the Ray cluster of RAY_ADDRESS, else of one on this machine"
)
def evaluate(run: Path, cluster: bool) -> None:
    """Evaluate the arms of a finished run again, and print the results."""
    from blear.pipeline.run import evaluate_run
    from blear.terminal import print_markdown

    print_markdown(evaluate_run(run, on_ray=cluster), Console())
