"""`blear card MODEL... DATA`."""

from __future__ import annotations

from pathlib import Path

import click

from blear.commands.options import command_line


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="[LABEL=]MODEL... DATA")
@click.option("--suite", default="quick", show_default=True, help="quick, faces, full, a plugin's suite, or a file")
@click.option("--split", default="test", show_default=True, help="split to test on; all: every sample")
@click.option("--target", metavar="NAME[=COLUMN]", help="the class target; default: the one that is found")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="parameter of the dataset: source=..., size=64"
)
@click.option(
    "--facts",
    multiple=True,
    metavar="[LABEL:]KEY=VALUE",
    help="fact of a network of others: labels, size, color, range, mean, std, output",
)
@click.option(
    "--labels",
    multiple=True,
    metavar="MODEL=DATA,...",
    help="classes of equal meaning and other names; X= leaves a class of the model out, =X one of the data",
)
@click.option("--slice", "slices", multiple=True, metavar="COLUMN", help="metadata column, subject, video or truth")
@click.option("--faces", type=click.IntRange(0), default=0, show_default=True, help="pictures of the data on the page")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="test N samples at most, the same ones each time")
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="bootstrap resamples")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="folder to write; default: card, or card-2, ... where it holds the card of another command",
)
def card(
    arguments: tuple[str, ...],
    suite: str,
    split: str,
    target: str | None,
    overrides: tuple[str, ...],
    facts: tuple[str, ...],
    labels: tuple[str, ...],
    slices: tuple[str, ...],
    faces: int,
    limit: int | None,
    resamples: int,
    device: str,
    out: Path | None,
) -> None:
    """Test models of anyone on labelled DATA under a suite of degradations, and write a report card.

    MODEL is an ONNX file, a file of torch.export (.pt2), MODULE:ATTRIBUTE of a callable, hf:FOLDER (a pipeline of
    transformers), a run, a stage of a run, a model folder, or the name of a shipped model; several models are compared
    by paired tests. DATA is a folder of class folders, a table, the name of a dataset, or JOB.yaml:NAME. The card is
    card.html, card.md, summary.json, run.json and predictions.parquet in the folder --out; `blear compare` compares
    cards.
    """
    from rich.console import Console

    from blear.card.make import CardOptions, make_card
    from blear.card.markdown import headline_table
    from blear.job.overrides import parse_override
    from blear.models.device import chosen_device
    from blear.storage.numbered_output import free_for, numbered_output
    from blear.terminal import print_markdown

    if len(arguments) < 2:
        raise click.UsageError("give one model or several, and the data after them")
    command = command_line()
    out = out or numbered_output(Path("card"), lambda one: free_for(one, one / "run.json", command=command))
    options = CardOptions(
        data=arguments[-1],
        params=dict(map(parse_override, overrides)),
        split=split,
        target=target,
        suite=suite,
        facts=facts,
        labels=labels,
        slices=slices,
        faces=faces,
        limit=limit,
        resamples=resamples,
        device=chosen_device(device),
        command=command,
    )
    made = make_card(arguments[:-1], options, out)
    for text in made.info["warnings"]:
        click.echo(f"warning: {text}", err=True)
    print_markdown(headline_table(made.summary), Console())
    click.echo(f"wrote {out / 'card.html'}, {out / 'card.md'}, summary.json, run.json, predictions.parquet")
