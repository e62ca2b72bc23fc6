"""`blear card`: tests models on data under a suite, and writes the card as HTML, Markdown, JSON and Parquet."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blear.card.facts import card_info
from blear.card.label_order import better_order
from blear.card.labels import left_out_classes, match_labels, parse_pairs, plain_name
from blear.card.markdown import card_markdown
from blear.card.page import write_page
from blear.card.predictions import CardFaces, TestedModel, predict_suite
from blear.card.samples import CardData, open_dataset, read_samples
from blear.card.suites import Suite, find_suite
from blear.contracts import ClipSpec
from blear.errors import RunError
from blear.evaluate.predictions import write_predictions
from blear.evaluate.summarise import SummaryOptions, summarise
from blear.evaluate.summary import Summary
from blear.job.schema import CLEAN
from blear.metrics import CLASSIFICATION
from blear.models.open_model import AnyModel, open_model
from blear.plugin.discovery import load_plugins
from blear.storage.run_folder import write_text


@dataclass(frozen=True)
class CardOptions:
    """Options of `blear card`; see its help."""

    data: str
    params: Mapping[str, Any] = field(default_factory=dict)
    split: str = "test"
    target: str | None = None
    suite: str = "quick"
    facts: Sequence[str] = ()
    labels: Sequence[str] = ()
    slices: Sequence[str] = ()
    faces: int = 0
    limit: int | None = None
    resamples: int = 1000
    device: str = "cpu"
    command: str = ""


@dataclass(frozen=True)
class Card:
    """A finished card.

    Attributes:
        summary: all statistics.
        info: content of run.json.
        text: content of card.md.
    """

    summary: Summary
    info: dict[str, Any]
    text: str


def make_card(models: Sequence[str], options: CardOptions, out: Path) -> Card:
    """Tests models and writes card.html, card.md, summary.json, run.json and predictions.parquet.

    Args:
        models: names of `open_model`, each with a label in front if one is wanted: `LABEL=MODEL`.
        out: folder of the card. It may hold an earlier card, whose files are replaced.

    Raises:
        BlearError: a model or the data cannot be read, or their classes do not match.
    """
    started = time.time()
    if (out / "job.yaml").exists():
        raise RunError("this is a run folder", str(out), "give another --out")
    suite, catalog = find_suite(options.suite), load_plugins()
    use, params = open_dataset(options.data, options.params, options.target, catalog)
    data = read_samples(use, params, options.split, options.target, catalog, options.limit)
    given = parse_pairs(options.labels)
    if out_of_data := left_out_classes(given):
        data = data.without_classes(out_of_data)
    tested = _models(models, options.facts, data, given)
    table, faces, counters = predict_suite(
        tested, data, suite, catalog, device=options.device, faces=options.faces, slices=options.slices
    )
    labels = [one.label for one in tested]
    groups = {condition: sweep.group for condition, sweep in suite.evaluate.sweeps.items()}
    summary = summarise(
        table,
        CLASSIFICATION,
        reference=labels[0],
        seed=suite.seed,
        resamples=options.resamples,
        target=data.target,
        options=SummaryOptions(slices=options.slices, mce=labels[0] if len(labels) > 1 else None, groups=groups),
    )
    warnings = [*(counter.warning for counter in counters if counter.uncovered), *_warnings(summary)]
    info = card_info(tested, data, suite, catalog, options.command, started, warnings)
    write_predictions(out / "predictions.parquet", [table])
    return _write(Card(summary, info, card_markdown(summary, info)), suite, faces, table, out)


def _models(
    names: Sequence[str], facts: Sequence[str], data: CardData, given: Sequence[tuple[str, str]]
) -> list[TestedModel]:
    """Opens the models and matches their classes.

    Raises:
        RunError: two models have the same label, a fact is for no model, or classes do not match.
    """
    pairs = [_labelled(name) for name in names]
    labels = [label for label, _ in pairs]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise RunError(f"two models are called {twice!r}", ", ".join(names), "give labels: LABEL=MODEL")
    of_label = _facts_of(facts, labels)
    _, length, height, width, channels = data.frames_NTHWC.shape
    clip = ClipSpec(length, channels, height, width)
    found = []
    for label, name in pairs:
        model = open_model(name, facts=of_label[label], clip=clip)
        target = _target(model, data, label)
        found.append(TestedModel(label, model, target, match_labels(model.labels[target], data.classes, given, label)))
    _require_used(given, found)
    return found


def _require_used(given: Sequence[tuple[str, str]], models: Sequence[TestedModel]) -> None:
    """Checks that each class of a model in `--labels` is a class of a model.

    Raises:
        RunError: no model has a class of this name.
    """
    known = {plain_name(name): name for model in models for name in model.labels.pairs}
    for ours, theirs in given:
        if ours and plain_name(ours) not in known:
            what, do = f"no model has the class {ours!r}", f"the models' classes: {', '.join(known.values())}"
            raise RunError(what, f"--labels {ours}={theirs}", do)


def _labelled(text: str) -> tuple[str, str]:
    """Label and model of `LABEL=MODEL`; without a label: the last part of the model's name."""
    label, equals, name = text.partition("=")
    if equals and "/" not in label and ":" not in label:
        return label, name
    last = text.rstrip("/").rpartition("/")[2]
    return (last.rpartition(".")[0] if last.endswith((".onnx", ".pt2", ".safetensors")) else last), text


def _facts_of(texts: Sequence[str], labels: Sequence[str]) -> dict[str, dict[str, str]]:
    """Label -> facts: of `LABEL:KEY=VALUE` for that model, of `KEY=VALUE` for the only model."""
    found: dict[str, dict[str, str]] = {label: {} for label in labels}
    for text in texts:
        key, equals, value = text.partition("=")
        label, colon, name = key.rpartition(":")
        if not equals or (not colon and len(labels) > 1) or (colon and label not in labels):
            do = f"write [LABEL:]KEY=VALUE with a label of: {', '.join(labels)}"
            raise RunError("is for no model", f"--facts {text}", do)
        found[label if colon else labels[0]][name.strip()] = value
    return found


def _target(model: AnyModel, data: CardData, label: str) -> str:
    """The class target of the model: the one with the data's name, or the only one."""
    names = list(model.labels)
    if data.target in names:
        return data.target
    if len(names) == 1:
        return names[0]
    do = "give its labels: --facts labels=A,B,..." if not names else f"name one of them in the data: {', '.join(names)}"
    raise RunError(f"has {len(names)} class targets, none of them {data.target!r}", label, do)


def _warnings(summary: Summary) -> list[str]:
    """What makes the numbers of a model doubtful."""
    found = []
    for confusion in summary.confusion:
        if confusion.condition == CLEAN:
            text = better_order(np.array(confusion.counts), summary.classes)
            found += [f"{confusion.arm}: {text}"] if text else []
    return found


def _write(card: Card, suite: Suite, faces: CardFaces, table: Any, out: Path) -> Card:
    write_text(out / "summary.json", card.summary.model_dump_json(indent=1) + "\n")
    write_text(out / "run.json", json.dumps(card.info, indent=1, ensure_ascii=False) + "\n")
    write_text(out / "card.md", card.text)
    write_page(out, card.info, card.summary, table, faces)
    return card
