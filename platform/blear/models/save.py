"""Writes a model folder: model.safetensors, card.json and card.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import nn

from blear import __version__
from blear.errors import RunError
from blear.models.card import CARD_FILE, GRAPH_FILE, TEXT_FILE, WEIGHTS_FILE, ModelCard, parse_card
from blear.storage.durable import durable_file
from blear.storage.file_digest import file_digest
from blear.storage.run_folder import write_text
from blear.train.state_copy import save_state, state_on_cpu

CARD_KEY = "blear.card"
"""Key of the metadata of a weights file that holds a copy of its card, as JSON."""


def save_model(
    network: nn.Module, card: ModelCard, folder: Path, *, half: bool, text: str | None, facts: Mapping[str, Any]
) -> Path:
    """Writes a model folder; see `Model.save`.

    Raises:
        ValueError: a fact is no JSON, or a field has a wrong type.
    """
    fields = {"name": folder.resolve().name, "blear": __version__, **facts, "weights_sha256": ""}
    fields["dtype"] = "float16" if half else "float32"
    try:
        card = ModelCard.model_validate(card.model_dump(mode="json") | fields)
        embedded = card.to_json()
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    state = state_on_cpu(network)
    if half:  # batch statistics stay in float32: a variance may be out of the range of float16
        for name, _ in network.named_parameters(remove_duplicate=False):
            state[name] = state[name].half()
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS_FILE
    with durable_file(weights, weights.with_suffix(".partial")) as partial:
        save_state(state, partial, {CARD_KEY: embedded})
    card = card.model_copy(update={"weights_sha256": file_digest(weights)})
    (folder / GRAPH_FILE).unlink(missing_ok=True)  # it refers to the weights that were here before
    write_text(folder / CARD_FILE, card.to_json())
    write_text(folder / TEXT_FILE, card_text(card) if text is None else text)
    return folder


def embedded_card(file: Path) -> ModelCard:
    """Reads the copy of the card in a weights file.

    Raises:
        RunError: the file cannot be read, is no safetensors file, or has no card.
    """
    try:
        with safe_open(str(file), framework="pt") as opened:
            text = (opened.metadata() or {}).get(CARD_KEY)
    except (OSError, SafetensorError, ValueError) as error:
        raise RunError(f"no weights file: {error}", str(file), "give a .safetensors file of `Model.save`") from error
    if text is None:
        do = "give a file that `Model.save` wrote, or the run folder"
        raise RunError("the weights file has no model card", str(file), do)
    return parse_card(text, str(file))


def card_text(card: ModelCard) -> str:
    """The facts of a card as Markdown."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: ModelCard) -> Iterator[str]:
    clip = card.clip
    frames = f"clips of {clip.length} frames, " if clip.length > 1 else ""
    colour = "grey" if clip.channels == 1 else "RGB"
    yield f"# {card.name}"
    if card.summary:
        yield from ("", card.summary)
    yield from ("", "| fact | value |", "| --- | --- |")
    yield f"| input | {frames}{colour}, {clip.width} x {clip.height} pixels |"
    for target in card.targets:
        classes = card.labels.get(target.name, target.classes)
        yield f"| {target.name} | {', '.join(classes) if classes else 'a number'} |"
    yield f"| parameters | {card.parameters:,}, stored as {card.dtype} |"
    yield f"| training data | {card.training.data or 'not stated'} |"
    yield f"| trained by | run {card.training.run or 'not stated'}, blear {card.blear} |"
    yield f"| job | SHA-256 {card.training.job_sha256 or 'not stated'}, as `blear check JOB --digest` prints it |"
    framing = ", ".join(f"{key} {value}" for key, value in (card.framing or {}).items())
    yield f"| framing of faces | {framing or 'not stated'} |"
    if card.terms:
        yield from ("", "## Terms of the training data", "", card.terms)
    if card.metrics:
        keys = list(dict.fromkeys(key for row in card.metrics for key in row))
        yield from ("", "## Results", "", f"| {' | '.join(keys)} |", f"|{' --- |' * len(keys)}")
        for row in card.metrics:
            yield f"| {' | '.join(_number(row.get(key)) for key in keys)} |"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
