"""`blear export` as a function: writes the file, compares it with the model, measures it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blear.errors import RunError
from blear.export.check import ExportCheck, require_equal
from blear.export.check_data import Source, require_labels
from blear.export.compare import LevelDifference, Predictor
from blear.export.files import write_onnx, write_torch_export
from blear.export.graph import write_graph
from blear.export.int8 import LARGEST_LOSS, METHODS, quantize
from blear.export.report import export_report
from blear.export.trace import trace_model
from blear.models.card import CARD_FILE, GRAPH_FILE, TEXT_FILE, WEIGHTS_FILE
from blear.models.inference import for_inference
from blear.models.load import load
from blear.models.model import Model
from blear.models.open_model import ONNX, TORCH_EXPORT, open_model
from blear.models.shipped import find_model, is_shipped
from blear.storage.durable import replace_durably

Format = Literal["onnx", "torch-export", "safetensors"]
_SUFFIX: dict[Format, str] = {"onnx": ONNX, "torch-export": TORCH_EXPORT, "safetensors": ""}
_OWN_FILES = (WEIGHTS_FILE, CARD_FILE, TEXT_FILE, GRAPH_FILE)
_RUN_FILES = ("job.yaml", "stage.json")
_SAMPLES, _INT8_SAMPLES, _CALIBRATION = 256, 4096, 512


@dataclass(frozen=True)
class ExportOptions:
    """The options of `blear export`, see its help."""

    model: str
    to: Format
    out: Path | None = None
    stage: str | None = None
    data: Path | None = None
    dataset: str | None = None
    split: str | None = None
    conditions: Path | None = None
    samples: int | None = None
    int8: bool = False
    targets: tuple[str, ...] = ()
    graph: bool = False


@dataclass(frozen=True)
class ExportSummary:
    """The written file or folder, and the report in Markdown."""

    out: Path
    text: str


def export_model(options: ExportOptions) -> ExportSummary:
    """Runs `blear export`. A file that differs from the model is not kept.

    Raises:
        RunError: the model cannot be exported, or the file differs from it.
        DataError: the samples of the comparison cannot be read.
    """
    if options.int8 and options.to != "onnx":
        raise RunError("8-bit weights are written as ONNX only", f"--to {options.to}", "give --to onnx")
    if options.graph and options.to != "safetensors":
        raise RunError("the graph belongs to a model folder", f"--to {options.to}", "give --to safetensors")
    model = load(options.model, stage=options.stage)
    out = options.out or Path(model.card.name + ("-int8" if options.int8 else "") + _SUFFIX[options.to])
    _require_other_place(out, options.model)
    if options.targets:
        try:
            model = model.select_targets(*options.targets)
        except ValueError as error:
            raise RunError(str(error), "--target", "choose others, or leave the option out") from error
    source = None if options.data is None else Source(options.data, options.dataset)
    count = options.samples or (_INT8_SAMPLES if options.int8 else _SAMPLES)
    check = ExportCheck(model, options.model, options.stage, source, options.split, options.conditions, count)
    if options.int8:
        require_labels(check.samples.data)
    out.parent.mkdir(parents=True, exist_ok=True)
    if options.to == "safetensors":
        return _write_folder(model, out, check, graph=options.graph)
    return _write_file(model, out, check, options)


def _require_other_place(out: Path, given: str) -> None:
    """Checks that the export overwrites no file of the model or of a run.

    Raises:
        RunError: it would.
    """
    source = find_model(given).folder if is_shipped(given) else Path(given).expanduser()
    folder = source if source.is_dir() else source.parent
    place = out.resolve()
    own = place == folder.resolve() or (place.parent == folder.resolve() and out.name in _OWN_FILES)
    if own or any((out / file).is_file() for file in _RUN_FILES):
        what = "is the model that is exported" if own else "is the folder of a run or of a stage"
        raise RunError(what, str(out), "choose another place with --out")


def _write_folder(model: Model, out: Path, check: ExportCheck, *, graph: bool) -> ExportSummary:
    """Writes a model folder, as `Model.save` does; only its weights file, or its graph, is read for the comparison.

    An older model folder of this name stays as it is until the new one has been compared.
    """
    if out.suffix == ".safetensors":
        raise RunError("is written as a folder", str(out), f"give a folder: --out {out.with_suffix('')}")
    place = out.resolve()
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as temporary:
        partial = model.save(Path(temporary), name=model.card.name)
        weights = partial / WEIGHTS_FILE
        file = _open(write_graph(partial)) if graph else for_inference(load(weights))
        found = check.differences({"file": file})["file"]
        require_equal(found, out)
        text = export_report(model, file, weights, found, [check.name])
        out.mkdir(exist_ok=True)
        (out / GRAPH_FILE).unlink(missing_ok=True)  # it refers to the weights that were here before
        for one in sorted(partial.iterdir()):
            replace_durably(one, out / one.name)
    return ExportSummary(out, text)


def _write_file(model: Model, out: Path, check: ExportCheck, options: ExportOptions) -> ExportSummary:
    partial = out.with_name(f".{out.name}.partial{_SUFFIX[options.to]}")
    written = [partial]
    try:
        traced = trace_model(model)
        (write_onnx if options.to == "onnx" else write_torch_export)(traced, partial)
        notes = [check.name, f"input `{traced.input}`: {traced.axes}"]
        chosen, file = partial, _open(partial)
        if options.int8:
            written += [partial.with_suffix(f".{method}{ONNX}") for method in METHODS]
            chosen, found, note = _quantize(check, traced.module.still, written)
            file = _open(chosen)
            notes.append(note)
        else:
            found = check.differences({"file": file})["file"]
            require_equal(found, out)
        text = export_report(model, file, chosen, found, notes)
        replace_durably(chosen, out)
    finally:
        for one in written:
            one.unlink(missing_ok=True)
    return ExportSummary(out, text)


def _quantize(check: ExportCheck, still: bool, files: Sequence[Path]) -> tuple[Path, list[LevelDifference], str]:
    """The first int8 version that loses at most half a point at every level, its differences, and a note.

    Args:
        still: whether the input has no axis of time.
        files: the file to quantize, and one to write for each of `METHODS`.

    Raises:
        RunError: all versions lose more.
    """
    file, *outs = files
    inputs = [(frames[:, 0] if still else frames).numpy() for frames in check.calibration(_CALIBRATION)]
    for method, out in zip(METHODS, outs, strict=True):
        quantize(file, out, inputs, method)
    every = check.differences({method: _open(out) for method, out in zip(METHODS, outs, strict=True)})
    lost = {}
    for (method, found), out in zip(every.items(), outs, strict=True):
        worst = max(found, key=lambda one: one.lost)
        lost[method] = f"{worst.lost:.2f} points at {worst.name}"
        if worst.lost <= LARGEST_LOSS:
            return out, found, f"8 bits, ranges of activations by {method}: largest loss {lost[method]}"
    what = "8 bits lose more than half a point: " + ", ".join(f"{key} {value}" for key, value in lost.items())
    raise RunError(what, "--int8", "export without --int8, or compare on more samples (--samples)")


def _open(file: Path) -> Predictor:
    return open_model(str(file))
