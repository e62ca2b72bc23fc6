"""Benchmark: `blear predict`, the whole command, and the loop that a person writes first, on the same frames.

The loop reads frames with OpenCV, detects faces in each frame with `MTCNN(keep_all=True)` of facenet-pytorch, cuts them
by the framing of the model, and calls the same model on the faces of the frame. Both arms load their networks, predict
every frame of the same files, and run in one process on one thread, in turns. Times are CPU times.

A face of a frame is true where two of three detectors (RetinaFace, CenterFace, MTCNN) agree at the overlap `FOUND`.
Recall is measured in every tenth frame.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from bench_locators import FOUND, build
from face_composites import DATA
from measuring import Row, interleaved, quartiles, threads

from blear.imaging import Box, Framing
from blear.models.foreign import ForeignModel
from blear.models.load import load
from blear.predict import predictor
from blear.predict.appearance_tracker import AppearanceTracker
from blear.predict.detectors import LocatorDetector
from blear.predict.options import PredictOptions, predict_files
from blear.predict.trackers import overlap
from blear.predict.video import frame_windows
from blear.video.frames import RgbConverter, Thumbnails

MODEL, FRAMES = "robust-faces", int(os.environ.get("FRAMES", "40"))
REPEATS = int(os.environ.get("REPEATS", "3"))
SIZES = {
    (596, 336): ("mead/M003_level_1_happy_024.mp4", "misc/WolfgangLanger_Pexels.mp4", "misc/single_face.mp4"),
    (1920, 1080): ("mead/M003_level_1_happy_024.mp4", "mead/M030_level_3_angry_016.mp4"),
}
PLAIN, EVERY_FRAME, COMMAND = "MTCNN on each frame", "blear predict --detect-every 1", "blear predict"
Boxes = list[list[Box]]
"""Faces of the frames of all videos, one list for each frame."""


def measure() -> list[Row]:
    """Rows: frames and faces per second, recall, parts of the command's time. None without real data (`BLEAR_DATA`)."""
    if not (DATA / "video").is_dir():
        return []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, threads(1), contextlib.redirect_stderr(io.StringIO()):
        cv2.setNumThreads(1)
        for size, clips in SIZES.items():
            videos = [_video(DATA / "video" / clip, size, Path(folder)) for clip in clips]
            rows += _compare(f"{size[0]} x {size[1]}", videos, Path(folder))
    return rows


def _compare(name: str, videos: list[Path], folder: Path) -> list[Row]:
    found: dict[str, Boxes] = {}
    framing = load(MODEL).framing
    assert framing is not None

    def command(detect_every: int) -> Boxes:
        return _command(videos, PredictOptions(MODEL, out=folder / "out.jsonl", every=1, detect_every=detect_every))

    arms: dict[str, Callable[[], Boxes]] = {
        COMMAND: lambda: command(5),
        EVERY_FRAME: lambda: command(1),
        PLAIN: lambda: _plain(videos, framing),
    }
    timed = {arm: (lambda arm=arm, run=run: found.__setitem__(arm, run())) for arm, run in arms.items()}
    seconds = interleaved(timed, repeats=REPEATS, warm=1, clock=time.process_time)
    true = _truth(videos)
    rows = []
    for arm, times in seconds.items():
        ratio = None
        if arm != PLAIN:
            ratio = float(np.median([other / own for own, other in zip(times, seconds[PLAIN], strict=True)]))
        frames, faces, took = len(found[arm]), sum(map(len, found[arm])), float(np.median(times))
        against = PLAIN if ratio is not None else ""
        spread = quartiles([frames / one for one in times])
        rows.append(Row(f"{name}, {arm}", frames / took, "frames/s", ratio, against, spread))
        rows.append(Row(f"{name}, {arm}, faces", faces / took, "faces/s"))
        hits = [any(overlap(box, one) >= FOUND for one in found[arm][place]) for place in true for box in true[place]]
        rows.append(Row(f"{name}, {arm}, recall", 100 * float(np.mean(hits)), f"% of {len(hits)} faces"))
    parts = _parts(lambda: command(5))
    return rows + [Row(f"{name}, {COMMAND}: {part}", ms, "ms/frame") for part, ms in parts]


def _command(videos: list[Path], options: PredictOptions) -> Boxes:
    predict_files([str(video) for video in videos], options)
    faces: dict[tuple[str, int], list[Box]] = {}
    for line in options.out.read_text().splitlines():
        record = json.loads(line)
        left, top, right, bottom = record["coordinates"]
        box = Box(left, top, right - left, bottom - top)
        faces.setdefault((record["input"], record["frames"]), []).append(box)
    return [faces.get((str(video), frame), []) for video in videos for frame in range(FRAMES)]


def _plain(videos: list[Path], framing: Framing) -> Boxes:
    from facenet_pytorch import MTCNN

    detector, model = MTCNN(keep_all=True), load(MODEL)
    found = []
    for image_HWC in itertools.chain.from_iterable(map(_opencv_frames, videos)):
        corners, _ = detector.detect(image_HWC)
        boxes = [
            Box(left, top, right - left, bottom - top)
            for left, top, right, bottom in (() if corners is None else corners.tolist())
        ]
        if boxes:
            model([framing.cut(image_HWC, box) for box in boxes])
        found.append(boxes)
    return found


def _opencv_frames(video: Path) -> Iterator[np.ndarray]:
    reader = cv2.VideoCapture(str(video))
    while True:
        more, image_bgr = reader.read()
        if not more:
            return
        yield np.ascontiguousarray(image_bgr[..., ::-1])


def _truth(videos: list[Path]) -> dict[int, list[Box]]:
    """Place of a frame among the frames of all videos -> faces on which two of three detectors agree."""
    locators = [build(name) for name in ("retinaface", "centerface", "mtcnn")]
    true = {}
    for number, video in enumerate(videos):
        for window in frame_windows(video, 10, 1):
            found = [[face.box for face in locator.faces(window.image_HWC[None])[0]] for locator in locators]
            boxes: list[Box] = []
            for one, other in itertools.combinations(found, 2):
                agreed = [box for box in one if any(overlap(box, another) >= FOUND for another in other)]
                boxes += [box for box in agreed if not any(overlap(box, known) >= FOUND for known in boxes)]
            true[number * FRAMES + window.frame] = boxes
    return true


def _parts(command: Callable[[], Boxes]) -> list[tuple[str, float]]:
    """Milliseconds of CPU time for each frame in the parts of the command, from one run."""
    spent: dict[str, float] = {}

    def timed(part: str, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            began = time.process_time()
            try:
                return original(*arguments, **keywords)
            finally:
                spent[part] = spent.get(part, 0.0) + time.process_time() - began

        patched.callback(setattr, owner, name, original)
        setattr(owner, name, call)

    with contextlib.ExitStack() as patched:
        timed("detector", LocatorDetector, "__call__")
        timed("model", ForeignModel, "predict_arrays")
        timed("tracker", AppearanceTracker, "__call__")
        timed("conversion to RGB", RgbConverter, "__call__")
        timed("shots", Thumbnails, "__call__")
        timed("estimates of degradation", predictor, "estimate_face_degradation")
        began = time.process_time()
        frames = len(command())
        whole = time.process_time() - began
    parts = [*spent.items(), ("decoding, loading, crops, writing", whole - sum(spent.values()))]
    return [(part, 1000 * value / frames) for part, value in parts]


def _video(source: Path, size: tuple[int, int], folder: Path) -> Path:
    """The first frames of a clip in a size, as H.264."""
    out = folder / f"{size[0]}_{source.stem}.mp4"
    with av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for window in itertools.islice(frame_windows(source, 1, 1), FRAMES):
            image = cv2.resize(window.image_HWC, size, interpolation=cv2.INTER_AREA)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        target.mux(stream.encode())
    return out
