"""`blear predict` as a function: model, detector, tracker and outputs from the options of the command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from blear.errors import DataError, RunError
from blear.imaging import Framing
from blear.job.overrides import parse_override
from blear.models.device import chosen_device
from blear.models.for_prediction import open_for_prediction
from blear.models.open_model import AnyModel, parse_facts
from blear.plugin.discovery import load_plugins
from blear.predict.annotate import annotate_video, check_annotated
from blear.predict.appearance_tracker import AppearanceTracker
from blear.predict.clip_decisions import TABLE, ClipDecisions
from blear.predict.default_output import DEFAULT, default_output
from blear.predict.detectors import BoxFileDetector, DetectedFace, Detector, LocatorDetector
from blear.predict.inputs import Input, find_clips, find_inputs, is_video_file
from blear.predict.locators import default_locator, find_locator
from blear.predict.output import check_suffix, read_output
from blear.predict.plot import check_plot, plot_predictions
from blear.predict.predictor import FacePredictor
from blear.predict.rows import Labels
from blear.predict.run import predict_inputs, predicted_targets
from blear.predict.trackers import FaceTracker, FileTracker, SinglePerson
from blear.predict.video import FrameRateChoice, FrameWindow, StrideChoice
from blear.storage.file_digest import file_digest
from blear.storage.remote import is_url
from blear.video import VideoFrame

BESIDE = Path()
"""Name of a further output that lies beside `out`."""
EVERY = 5
"""Every EVERY-th frame of a file is predicted, unless the options say otherwise; of a stream every frame."""
DETECT_EVERY = 5
"""Frames of a video from one detection to the next, unless the options say otherwise."""
_LARGEST_SIDE = 8192  # of a resized frame, where the smallest face is given


@dataclass(frozen=True)
class PredictOptions:
    """The options of `blear predict`, see its help.

    Attributes:
        number_out: predictions of other inputs in `out` are kept, see `default_output`.
        annotate, plot: `BESIDE`: the name of `out` with another suffix.
    """

    model: str
    stage: str | None = None
    out: Path = DEFAULT
    number_out: bool = False
    every: int | None = None
    detect_every: int = DETECT_EVERY
    fps: float | None = None
    crops: bool = False
    boxes: Path | None = None
    locator: str | None = None
    locator_params: tuple[str, ...] = ()
    min_face: float | None = None
    tracks: Path | None = None
    margin: float | None = None
    abstain: float = 0.0
    smooth: float = 1.0
    seconds: float | None = None
    drop: bool | None = None
    strict: bool = False
    annotate: Path | None = None
    plot: Path | None = None
    clips: Path | None = None
    words: tuple[str, ...] = ()
    device: str = "auto"
    facts: tuple[str, ...] = ()
    cluster: bool = False
    workers: int | None = None


@dataclass
class PredictSummary:
    """Summary lines, files that were written, and inputs that could not be predicted."""

    lines: list[str]
    broken: list[str]
    files: list[Path] = field(default_factory=list)


def predict_files(given: Sequence[str], options: PredictOptions) -> PredictSummary:
    """Runs `blear predict`.

    Raises:
        BlearError: the model or an option cannot be used, or no input is found. An input that cannot be read is no
            error: see `PredictSummary.broken`.
    """
    inputs = find_clips(given) if options.clips is not None and options.crops else find_inputs(given)
    for name, file in (("boxes", options.boxes), ("tracks", options.tracks)):
        if file is not None and len(inputs) > 1:
            what = f"the {name} are of one video, but there are {len(inputs)} inputs"
            raise DataError(what, f"--{name}", "give one video")
    if options.annotate is not None and not (len(inputs) == 1 and is_video_file(inputs[0])):
        do = "give one video file of this machine"
        raise DataError("one video file can be annotated at a time", "--annotate", do)
    options = _named_outputs(options, inputs)
    _check_outputs(inputs, options)
    if options.cluster:
        if options.locator is not None:
            _require_one_video(_detector(options)[0], inputs, options)
        from blear.predict.on_ray.runner import predict_on_ray

        return predict_on_ray(inputs, options)
    every = options.every or (1 if any(source.address for source in inputs) else EVERY)
    predictor, settings = open_predictor(options, every)
    _require_one_video(predictor.detector, inputs, options)
    model = predictor.model
    targets = predicted_targets(model)
    decisions = clip_decisions(options, inputs, targets[0], model.labels)
    result = predict_inputs(predictor, inputs, options.out, settings, options.abstain, decisions, options.drop)
    summary = PredictSummary(result.lines, result.broken, [options.out])
    if options.clips is not None:
        summary.files.append(options.clips / TABLE)
    if options.plot is not None:
        plot_predictions(read_output(options.out, targets, model.labels), targets, model.labels, options.plot)
        summary.files.append(options.plot)
    if options.annotate is not None and not result.broken:
        rows = read_output(options.out, targets, model.labels)
        annotate_video(inputs[0].path, rows, targets, model.labels, options.annotate)
        summary.files.append(options.annotate)
    return summary


def _require_one_video(detector: Detector, inputs: Sequence[Input], options: PredictOptions) -> None:
    """Raises a DataError where a locator reads the table of one video, and there are several inputs."""
    if len(inputs) > 1 and isinstance(detector, LocatorDetector) and detector.is_table:
        what = f"its table is of one video, but there are {len(inputs)} inputs"
        raise DataError(what, f"--locator {options.locator}", "give one video")


def _named_outputs(options: PredictOptions, inputs: Sequence[Input]) -> PredictOptions:
    """The options with the names of all output files."""
    out = default_output([source.name for source in inputs]) if options.number_out else options.out
    annotate = out.with_suffix(".mp4") if options.annotate == BESIDE else options.annotate
    plot = out.with_suffix(".html") if options.plot == BESIDE else options.plot
    return replace(options, out=out, annotate=annotate, plot=plot)


def _check_outputs(inputs: Sequence[Input], options: PredictOptions) -> None:
    """Checks the names of all outputs before anything is predicted.

    Raises:
        RunError: a suffix is wrong, or an output is an input or another file that would be lost.
    """
    check_suffix(options.out)
    if options.annotate is not None:
        check_annotated(options.annotate)
    if options.plot is not None:
        check_plot(options.plot)
    given = {source.path.resolve() for source in inputs if source.address is None and not is_url(source.name)}
    given |= {file.resolve() for file in given_files(options).values()}
    table = None if options.clips is None else options.clips / TABLE
    for out in (options.out, options.annotate, options.plot, table):
        if out is not None and out.resolve() in given:
            raise RunError("is an input", str(out), "choose another file for the output")


def given_files(options: PredictOptions) -> dict[str, Path]:
    """Option, or parameter of the locator -> the file or folder that it names."""
    files = {name: file for name in ("boxes", "tracks") if (file := getattr(options, name)) is not None}
    values = dict(map(parse_override, options.locator_params))
    return files | {name: Path(one) for name, one in values.items() if isinstance(one, str) and Path(one).is_file()}


def open_predictor(options: PredictOptions, every: int) -> tuple[FacePredictor, dict[str, Any]]:
    """Loads the model; returns the predictor, and the settings that its predictions depend on.

    Args:
        every: stride between the predicted frames, where `options` has no rate.

    Raises:
        BlearError: the model or an option cannot be used.
    """
    device = chosen_device(options.device)
    model = open_for_prediction(options.model, device, stage=options.stage, facts=parse_facts(options.facts))
    framing = None if options.crops else chosen_framing(model, options.margin)
    detector, locator = _detector(options)
    predictor = FacePredictor(
        model,
        detector,
        _tracker(options),
        framing,
        _chooser(options.fps, every),
        "refuse" if options.strict else "mark",
        options.smooth,
        options.detect_every,
        options.seconds,
    )
    settings = {
        "model": {"name": model.card.name, "given": options.model, "weights_sha256": model.card.weights_sha256},
        "training": model.card.training.model_dump(mode="json"),
        "temperatures": model.card.temperatures,
        "calibration": {name: one.model_dump() for name, one in model.card.calibration.items()},
        "framing": None if framing is None else asdict(framing),
        "locator": locator,
        "min_face": options.min_face,
        "tracks": str(options.tracks or "appearance"),
        "detect_every": options.detect_every,
        "every": None if options.fps else every,
        "fps": options.fps,
        "seconds": options.seconds,
        "abstain": options.abstain,
        "smooth_s": options.smooth,
    }
    further = {  # only where they are given, so that interrupted predictions of older versions continue
        "strict": options.strict,
        "facts": list(options.facts),
        "files_sha256": {name: _digest(file) for name, file in given_files(options).items()},
    }
    return predictor, settings | {name: value for name, value in further.items() if value}


def _digest(place: Path) -> str:
    """SHA-256 of a file, or of the JSON files of a folder."""
    if not place.is_dir():
        return file_digest(place)
    files = sorted(place.glob("*.json"))
    return hashlib.sha256("".join(f"{file.name} {file_digest(file)}\n" for file in files).encode()).hexdigest()


def clip_decisions(
    options: PredictOptions, inputs: Sequence[Input], target: str, labels: Labels
) -> ClipDecisions | None:
    """The files of `--clips`; None: they are not asked for.

    Raises:
        RunError: the model has no class target, or a name or a word is wrong.
    """
    if options.clips is None:
        return None
    if target not in labels:
        raise RunError("the model has no class target", "--clips", "choose a stage with a classification head")
    return ClipDecisions(options.clips, inputs, target, labels[target], options.words)


def chosen_framing(model: AnyModel, margin: float | None) -> Framing:
    """How faces are cut for a model: as its card states, or with a given margin.

    Raises:
        RunError: the card does not state it, and no margin is given.
    """
    if margin is not None:
        return Framing(margin=margin)
    if model.framing is None:
        what = "the model does not state how the faces of its training data were cut out of their pictures"
        do = "give --margin (0.5: a square of twice the side of the face's box), or cut faces with --crops"
        raise RunError(what, model.card.name, do)
    return model.framing


def _no_faces(windows: Sequence[FrameWindow]) -> list[list[DetectedFace]]:
    """A `Detector` that finds nothing."""
    return [[] for _ in windows]


def _detector(options: PredictOptions) -> tuple[Detector, str]:
    if options.crops:
        return _no_faces, "crops"
    if options.boxes is not None:
        return BoxFileDetector(options.boxes), str(options.boxes)
    catalog = load_plugins()
    name = options.locator or default_locator(catalog).name
    params = {} if options.min_face is None else {"min_face": options.min_face, "max_side": _LARGEST_SIDE}
    chosen = dict(map(parse_override, options.locator_params))
    detector = LocatorDetector(find_locator(options.locator, catalog, params, chosen))
    return detector, " ".join([name, *options.locator_params])


def _tracker(options: PredictOptions) -> Callable[[], FaceTracker]:
    if options.tracks is None:
        return SinglePerson if options.crops else AppearanceTracker
    tracker = FileTracker(options.tracks)
    return lambda: tracker


def _chooser(rate: float | None, every: int) -> Callable[[], Callable[[VideoFrame], bool]]:
    return (lambda: StrideChoice(every)) if rate is None else (lambda: FrameRateChoice(rate))
