"""`blear report RUN`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Write the report of an evaluated run again: one self-contained HTML page."""
    from blear.report import build

    click.echo(str(build(run)))
