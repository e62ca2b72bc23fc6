"""`blear compare RUN...`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN[:ARM]...")
@click.option("--against", metavar="ARM", help="Reference arm. Default: the reference of the first run.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for comparison.json and comparison.md.")
@click.option(
    "--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Number of bootstrap resamples."
)
def compare(runs: tuple[str, ...], against: str | None, out: Path | None, resamples: int) -> None:
    """Compare evaluated runs on the same samples: differences with intervals, paired tests, robustness, BD-rate."""
    from blear.evaluate.compare import compare_runs
    from blear.evaluate.compare_markdown import comparison_markdown
    from blear.storage.run_folder import write_text
    from blear.terminal import print_markdown

    summary = compare_runs(runs, against=against, resamples=resamples)
    text = comparison_markdown(summary)
    if out is not None:
        write_text(out / "comparison.json", summary.model_dump_json(indent=1))
        write_text(out / "comparison.md", text + "\n")
    print_markdown(text, Console())
