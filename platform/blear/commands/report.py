"""`blear report RUN [RUN...]`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the page. Default: the run folder; for several runs, `comparison` beside the first one.",
)
@click.option("--curve", type=click.Path(path_type=Path), help="Also write the robustness curve to this PNG file.")
def report(runs: tuple[Path, ...], out: Path | None, curve: Path | None) -> None:
    """Write the report of an evaluated run again, or one page that compares several."""
    from blear.report import build, compare, curve_png

    if len(runs) == 1 and out is None:
        click.echo(str(build(runs[0])))
    else:
        click.echo(str(compare(runs, out or runs[0].resolve().parent / "comparison")))
    if curve is not None:
        click.echo(str(curve_png(runs[0], curve)))
