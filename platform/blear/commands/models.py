"""`blear models`: the models of installed plugins, and those from a URL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import click

if TYPE_CHECKING:
    from blear.models.download import Download


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List trained models: those in installed plugins, and downloaded ones."""
    if context.invoked_subcommand is not None:
        return
    from blear.models.download import known_downloads
    from blear.models.shipped import shipped_models

    digests = {}
    for model in shipped_models():
        card = model.card
        digests[model.name] = digests[model.folder.name] = card.weights_sha256
        click.echo(f"{model.name}  {card.parameters / 1e6:.2f} M parameters  {card.summary}")
    for known in known_downloads():
        if known.name not in digests and digests.get(known.name.split("/")[1]) != known.source.sha256:
            click.echo(f"{known.name}  not downloaded: blear models get {known.name}  {known.source.summary}")


@models.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="print card.json instead")
def show(name: str, *, as_json: bool) -> None:
    """Print the card of a model: a name, or a model folder."""
    from rich.console import Console

    from blear.models.card import CARD_FILE, TEXT_FILE, read_card
    from blear.models.save import card_text
    from blear.models.shipped import find_model, is_shipped
    from blear.terminal import print_markdown

    is_folder = not is_shipped(name) and (Path(name) / CARD_FILE).is_file()
    folder = Path(name) if is_folder else find_model(name).folder
    card = read_card(folder / CARD_FILE)
    if as_json:
        click.echo(card.to_json(), nl=False)
        return
    text = folder / TEXT_FILE
    print_markdown(text.read_text() if text.is_file() else card_text(card), Console())


@models.command()
@click.argument("source", metavar="NAME|URL")
@click.option("--sha256", metavar="HEX", help="expected digest of the file; needed with a URL")
@click.option("--name", metavar="NAME", help="name of the model; default: the name of the file at the URL")
def get(source: str, sha256: str | None, name: str | None) -> None:
    """Download a model that a plugin names, or a weights file at a URL, and check its digest."""
    from blear.models.download import get_model

    found, default = _source(source, sha256)
    folder = get_model(found, default if name is None else name, replace="://" not in source)
    click.echo(str(folder))


@models.command()
@click.argument("name")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    metavar="COMPONENT",
    help="component that reads DATA; default: that of the training data, with its parameters",
)
@click.option("--split", default="test", show_default=True, help="split to test on")
@click.option(
    "--conditions", type=click.Path(path_type=Path), help="file of conditions; default: test.yaml of the model folder"
)
@click.option(
    "--thin",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="test each condition of a mean on every N-th sample only; together they test all",
)
@click.option("--every", is_flag=True, help="print the tables of each condition of a mean and of each class too")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file of all scores")
def test(
    name: str,
    data: Path,
    dataset: str | None,
    split: str,
    conditions: Path | None,
    *,
    thin: int,
    every: bool,
    out: Path | None,
) -> None:
    """Test a model on labelled DATA under clean and degraded conditions; prints accuracies with intervals."""
    import json
    import time

    from rich.console import Console

    from blear.contracts import BuildContext
    from blear.models.conditions import TEST_FILE, check_conditions, read_conditions, read_split
    from blear.models.load import load
    from blear.models.score_tables import ScoreTables
    from blear.models.scores import all_scores
    from blear.models.shipped import find_model, is_shipped
    from blear.plugin.discovery import load_plugins
    from blear.storage.run_folder import write_text
    from blear.terminal import print_markdown

    started = time.monotonic()
    model = load(name)
    if conditions is None:
        path = Path(name)
        is_path = not is_shipped(name) and path.exists()
        folder = (path if path.is_dir() else path.parent) if is_path else find_model(name).folder
        conditions = folder / TEST_FILE
    evaluate = read_conditions(conditions)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    catalog = load_plugins(model.card.plugins)
    training = model.card.training
    component = catalog.get("dataset", dataset or training.data)
    params = training.params if component.name == training.data else {}
    labelled = read_split(component.build({**params, "source": str(data)}, BuildContext()), split, model)
    results = check_conditions(model, labelled, evaluate, catalog, thin)
    scores = all_scores(results, labelled.truth_N, evaluate, model.labels[labelled.target])
    if out is not None:
        write_text(out, json.dumps([score.as_row() for score in scores], indent=1) + "\n")
    tables = ScoreTables(scores, evaluate)
    shown = [tables.accuracy(), tables.parts(), tables.flips()]
    shown += [tables.severities(), tables.classes()] if every else []
    tests = sum(len(result.numbers_N) for result in results)
    shown.append(f"{len(labelled.truth_N)} samples, {tests} tests, {time.monotonic() - started:.0f} s")
    print_markdown("\n\n".join(text for text in shown if text), Console())


def _source(source: str, sha256: str | None) -> tuple[Download, str]:
    """The download of a name or URL, and the name of its folder."""
    from blear.errors import JobError
    from blear.models.download import Download, known_downloads
    from blear.models.shipped import is_shipped

    if "://" in source:
        if sha256 is None:
            raise JobError("a URL needs its checksum", source, "add --sha256 HEX, as the publisher states it")
        if re.fullmatch("[0-9a-f]{64}", sha256.lower()) is None:
            raise JobError("no SHA-256", sha256, "give 64 hexadecimal digits")
        return Download(url=source, sha256=sha256.lower()), Path(unquote(urlsplit(source).path)).stem
    known = {one.name: one.source for one in known_downloads()}
    matching = [name for name in known if source in (name, name.split("/")[1])]
    if not matching and is_shipped(source):
        raise JobError("is already on this machine: nothing is downloaded", source, "use it by its name")
    if len(matching) != 1:
        raise JobError(f"no model to download: {source!r}", do=f"give a URL, or one of: {', '.join(known) or 'none'}")
    return known[matching[0]], matching[0].split("/")[1]
