"""Predicts many inputs into one file: progress, broken inputs, continuation, facts of the output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blear import __version__
from blear.models.open_model import AnyModel
from blear.predict.clip_decisions import ClipDecisions
from blear.predict.inputs import Input, printable
from blear.predict.journal import Journal
from blear.predict.one_input import InputStates, file_version, predict_input
from blear.predict.output import InputRecords, check_suffix, write_output
from blear.predict.persons import PersonSummaries
from blear.predict.predictor import FacePredictor
from blear.predict.rows import Labels, require_free_names
from blear.progress import echo
from blear.storage.run_folder import write_text


@dataclass
class PredictionResult:
    """Outcome of `predict_inputs`.

    Attributes:
        lines: summary for the terminal.
        broken: inputs that could not be predicted.
        without_face: inputs without a face.
    """

    lines: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    without_face: list[str] = field(default_factory=list)


def predict_inputs(
    predictor: FacePredictor,
    inputs: Sequence[Input],
    out: Path,
    settings: dict[str, Any],
    abstain: float = 0.0,
    decisions: ClipDecisions | None = None,
    drop: bool | None = None,
    save_every_s: float = 10.0,
) -> PredictionResult:
    """Writes the predictions of all inputs to `out`, and facts of them to `out` with `.meta.json` added.

    While it runs, the records stand in a file beside `out`; a call with the same settings continues it after the last
    complete input, and inside a video from its last state. An input that cannot be read is reported, and the others
    are predicted.

    Args:
        settings: everything that the predictions depend on, besides the inputs; stored in the facts.
        decisions: the files with one decision for each input; None: they are not written.
        drop: see `LiveSource`.
        save_every_s: seconds from one state of a video to the next.

    Raises:
        RunError: `out` cannot be written, its suffix is no format, or a target has the name of another field.
    """
    check_suffix(out)
    model, result = predictor.model, PredictionResult()
    targets = predicted_targets(model)
    people = PersonSummaries(model.labels)
    versions = {source.name: file_version(source) for source in inputs}
    with Journal(out, settings, versions, versions) as journal:
        if journal.finished:
            echo(f"{out}: continues after {len(journal.finished)} finished inputs")
        for record in journal.kept_records():
            people.add(record)
        state = journal.state
        for number, source in enumerate(inputs, start=1):
            if source.name not in journal.finished:
                title = f"predict {number}/{len(inputs)} {printable(source.path.name)}"

                def on_record(record: Mapping[str, Any], source: Input = source) -> None:
                    journal.append(record)
                    people.add(record)
                    if source.address is not None:
                        journal.flush()

                def save_state(state: Mapping[str, Any], source: Input = source) -> None:
                    version = versions[source.name]
                    if version is not None and not (source.is_picture or source.is_folder):
                        journal.save_state(source.name, version, state)

                states = InputStates(state, save_state, save_every_s)
                facts = predict_input(predictor, source, on_record, title, abstain, drop, states)
                state = None
                journal.finish_input(source.name, facts)
            _report(source.name, journal.finished[source.name], people, result)
        write_results(journal, inputs, out, settings, targets, model.labels, decisions)
    return result


def write_results(
    journal: Journal,
    inputs: Sequence[Input],
    out: Path,
    settings: Mapping[str, Any],
    targets: Sequence[str],
    labels: Labels,
    decisions: ClipDecisions | None,
    **further: Any,
) -> None:
    """Writes the output, its facts and the decisions from the journal, in the order of the inputs; deletes the journal.

    Args:
        further: more facts.
    """
    finished = {source.name: journal.finished[source.name] for source in inputs}
    if decisions is not None:
        decisions.write(journal.records(finished), [name for name, facts in finished.items() if "error" not in facts])
    groups = (InputRecords(name, journal.records([name]), facts.get("error")) for name, facts in finished.items())
    write_output(groups, out, targets, labels)
    facts = {"blear": __version__, **settings, "targets": targets, **further, "inputs": finished}
    text = printable(json.dumps(facts, indent=1, ensure_ascii=False))  # paths in the settings, too
    write_text(out.with_name(f"{out.name}.meta.json"), f"{text}\n")
    journal.delete()


def predicted_targets(model: AnyModel) -> list[str]:
    """Names of the targets that a network predicts, class targets first.

    Raises:
        RunError: a name is that of another field of the output.
    """
    clip = model.card.clip
    outputs = model.predict_arrays(np.zeros((1, clip.length, clip.height, clip.width, clip.channels), np.uint8))
    targets = sorted(outputs, key=lambda target: target not in model.labels)
    require_free_names(targets, model.labels)
    return targets


def unchecked_note(not_decoded: int) -> str:
    """States in the summary that some frames were not decoded; empty where all were."""
    return f"; {not_decoded} frames were not decoded: damage in their pixels is not reported" if not_decoded else ""


def _report(name: str, facts: dict[str, Any], people: PersonSummaries, result: PredictionResult) -> None:
    if "error" in facts:
        result.broken.append(name)
        result.lines.append(f"{name}: {facts['error'].splitlines()[0]}")
        return
    if not facts["faces"]:
        result.without_face.append(name)
    what = f"{facts['faces']} faces" if facts["faces"] else "no face"
    latency, dropped = facts.get("latency_ms"), facts.get("dropped")
    times = f"; latency {latency['median']} ms, 95 %: {latency['p95']} ms" if latency else ""
    left_out = f"; {dropped} frames dropped for newer ones" if dropped else ""
    unchecked = unchecked_note(facts.get("not_decoded", 0))
    result.lines.append(f"{name}: {what} in {facts['frames']} frames{times}{left_out}{unchecked}")
    result.lines += people.lines(name)
