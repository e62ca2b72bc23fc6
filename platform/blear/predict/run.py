"""Predicts many inputs into one file: progress, broken inputs, continuation, facts of the output."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blear import __version__
from blear.errors import BlearError
from blear.models.open_model import AnyModel
from blear.predict.clip_decisions import ClipDecisions
from blear.predict.inputs import Input
from blear.predict.journal import Journal
from blear.predict.live import LiveSource
from blear.predict.output import check_suffix, write_output
from blear.predict.persons import PersonSummaries
from blear.predict.predictor import FacePredictor
from blear.predict.rows import to_record
from blear.progress import ProgressBar, duration, echo, track
from blear.storage.run_folder import write_text
from blear.video import probe_video


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
) -> PredictionResult:
    """Writes the predictions of all inputs to `out`, and facts of them to `out` with `.meta.json` added.

    While it runs, the records stand in a file beside `out`; a call with the same settings continues it after the last
    complete input. An input that cannot be read is reported, and the others are predicted.

    Args:
        settings: everything that the predictions depend on, besides the inputs; stored in the facts.
        decisions: the files with one decision for each input; None: they are not written.
        drop: see `LiveSource`.

    Raises:
        RunError: `out` cannot be written, or its suffix is no format.
    """
    check_suffix(out)
    model, result = predictor.model, PredictionResult()
    targets, labels = predicted_targets(model), model.labels
    people = PersonSummaries(labels)
    with Journal(out, settings) as journal:
        if journal.finished:
            echo(f"{out}: continues after {len(journal.finished)} finished inputs")
            for record in journal.records():
                people.add(record)
        for number, source in enumerate(inputs, start=1):
            if source.name not in journal.finished:
                title = f"predict {number}/{len(inputs)} {source.path.name}"
                _predict_one(predictor, source, journal, people, title, abstain, drop)
            _report(source.name, journal.finished[source.name], people, result)
        if decisions is not None:
            decisions.write(journal.records(), [name for name in journal.finished if name not in result.broken])
        write_output(journal.records(), out, targets, labels)
        facts = {"blear": __version__, **settings, "targets": targets, "inputs": journal.finished}
        write_text(out.with_name(f"{out.name}.meta.json"), json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        journal.delete()
    return result


def predicted_targets(model: AnyModel) -> list[str]:
    """Names of the targets that a network predicts, class targets first."""
    clip = model.card.clip
    outputs = model(np.zeros((1, clip.length, clip.height, clip.width, clip.channels), np.uint8))
    return sorted(outputs, key=lambda target: target not in model.labels)


def _predict_one(
    predictor: FacePredictor,
    source: Input,
    journal: Journal,
    people: PersonSummaries,
    title: str,
    abstain: float,
    drop: bool | None,
) -> None:
    facts: dict[str, Any] = {"frames": 0, "faces": 0}
    labels, total = predictor.model.labels, 0 if source.address else 1
    live: LiveSource | None = None
    with contextlib.ExitStack() as opened:
        try:
            if source.address is not None:
                live = opened.enter_context(LiveSource(source.address, drop))
            elif not source.is_picture and not source.is_folder:
                info = probe_video(source.path)
                facts |= {"codec": info.codec, "rate": info.rate, "start": info.start}
                total = info.frames or 0
            bar = opened.enter_context(track(title, total))
            for face in predictor.predict(source, _counter(facts, bar, total), live):
                record = to_record(source.name, face, labels, abstain)
                journal.append(record)
                people.add(record)
                facts["faces"] += 1
                if live is not None:
                    journal.flush()
        except BlearError as error:
            facts["error"] = error.what
            echo(str(error))
        except KeyboardInterrupt:
            if live is None:
                raise
            echo(f"{source.name}: ends here")
        if live is not None:
            facts |= live.facts()
    journal.finish_input(source.name, facts)


def _counter(facts: dict[str, Any], bar: ProgressBar, total: int) -> Callable[[int], None]:
    started = time.monotonic()

    def count(frames: int) -> None:
        facts["frames"] += frames
        left = (time.monotonic() - started) / facts["frames"] * max(0, total - facts["frames"])
        bar.advance(frames, f"{duration(left)} left" if facts["frames"] % 25 == 0 and total else "")

    return count


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
    result.lines.append(f"{name}: {what} in {facts['frames']} frames{times}{left_out}")
    result.lines += people.lines(name)
