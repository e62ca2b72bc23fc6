"""`blear budget` as a function: encodes the videos with each setting and compares the predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blear.budget.agreement import Agreement, agreement, time_blocks
from blear.budget.encode import encode_video, require_encodable, source_size
from blear.budget.faces import VideoFaces, encoded_values, original_faces
from blear.budget.settings import Setting, grid
from blear.errors import DataError, RunError
from blear.predict.inputs import find_inputs, is_video_file
from blear.predict.options import PredictOptions, open_predictor
from blear.predict.predictor import FacePredictor
from blear.progress import track
from blear.video import read_video

EVERY = 5
"""Every EVERY-th frame is predicted, unless the options say otherwise."""


@dataclass(frozen=True)
class BudgetOptions:
    """The options of `blear budget`, see its help."""

    predict: PredictOptions
    keep: float = 0.95
    codecs: tuple[str, ...] = ("h264",)
    factors: tuple[float, ...] = (1.0, 2.0, 4.0)
    quality: tuple[int, ...] = ()
    target: str | None = None


@dataclass(frozen=True)
class Point:
    """One setting: its bit rate, the mean over the videos weighted by duration, and the agreement."""

    setting: Setting
    kbps: float
    agreement: Agreement


@dataclass(frozen=True)
class Budget:
    """The result.

    Attributes:
        points: settings in the order of the grid. Worse quality is left out where the agreement is already too low.
        kept: smallest agreement that is asked for.
        best: the setting with the lowest bit rate whose interval lies above `kept`; None: there is none.
        target: the compared target.
        classes: whether it is a class.
        faces: number of compared faces.
        source_kbps: bit rate of the videos themselves.
        videos: the videos.
        size: width and height of the first video.
    """

    points: list[Point]
    kept: float
    best: Point | None
    target: str
    classes: bool
    faces: int
    source_kbps: float
    videos: list[Path]
    size: tuple[int, int]


def find_budget(given: Sequence[str], options: BudgetOptions) -> Budget:
    """Runs `blear budget`.

    Raises:
        RunError: an option or the model cannot be used.
        DataError: a video cannot be read or has no face.
    """
    lists = grid(options.codecs, options.factors, options.quality)
    inputs = find_inputs(given)
    if wrong := [one.name for one in inputs if not is_video_file(one)]:
        raise DataError("is no video file", wrong[0], "give files of videos")
    videos = [one.path for one in inputs]
    sizes = [_size(video) for video in videos]
    for setting in (settings[0] for settings in lists):  # known before the first, which may take minutes
        for width, height in sizes:
            require_encodable(setting, width, height)
    predictor, _ = open_predictor(options.predict, options.predict.every or EVERY)
    target = _target(predictor, options.target)
    classes = target in predictor.model.labels
    originals = [original_faces(predictor, video, target) for video in videos]
    blocks_N = time_blocks([one.seconds_N for one in originals])
    truth_NK = np.concatenate([one.values_NK for one in originals])
    points: list[Point] = []
    with track("settings", sum(map(len, lists))) as bar, tempfile.TemporaryDirectory() as folder:
        for settings in lists:
            for number, setting in enumerate(settings):
                kbps, found_NK = _try(predictor, videos, originals, setting, target, Path(folder) / "encoded.mkv")
                points.append(Point(setting, kbps, agreement(truth_NK, found_NK, blocks_N, classes)))
                bar.advance(1, f"{setting.codec}, 1/{setting.factor:g}, crf {setting.crf}")
                if points[-1].agreement.high < options.keep:
                    bar.advance(len(settings) - number - 1)
                    break
    good = [point for point in points if point.agreement.low >= options.keep]
    return Budget(
        points,
        options.keep,
        min(good, key=lambda point: point.kbps, default=None),
        target,
        classes,
        len(truth_NK),
        _source_rate(videos, options.predict.seconds),
        videos,
        sizes[0],
    )


def _size(video: Path) -> tuple[int, int]:
    """Width and height of the first frame."""
    first = next(read_video(video, notice=lambda note: None)).image_HWC
    return first.shape[1], first.shape[0]


def _target(predictor: FacePredictor, name: str | None) -> str:
    targets = [target.name for target in predictor.model.card.targets]
    if name is not None and name not in targets:
        raise RunError(f"the model has no target {name!r}", "--target", f"choose one of: {', '.join(targets)}")
    return name or next(iter(predictor.model.labels), targets[0])


def _try(
    predictor: FacePredictor,
    videos: Sequence[Path],
    originals: Sequence[VideoFaces],
    setting: Setting,
    target: str,
    file: Path,
) -> tuple[float, np.ndarray]:
    """The mean bit rate of a setting, and the predictions for all faces, [N, K]."""
    bits, seconds, found = 0, 0.0, []
    for video, faces in zip(videos, originals, strict=True):
        encoded = encode_video(video, setting, file, predictor.seconds)
        bits, seconds = bits + encoded.bits, seconds + encoded.seconds
        found.append(encoded_values(predictor, faces, encoded, file, target))
    return bits / seconds / 1000, np.concatenate(found)


def _source_rate(videos: Sequence[Path], seconds: float | None) -> float:
    """The mean bit rate of the videos, weighted by their lengths as that of a setting."""
    sizes = [source_size(video, seconds) for video in videos]
    return sum(bits for bits, _ in sizes) / sum(length for _, length in sizes) / 1000
