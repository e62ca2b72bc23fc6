"""Tracks of faces: IDF1 on videos composed of real clips (`scenes`), for several intervals between detections.

IDF1 (Ristani et al. 2016): true and found tracks are matched one to one so that the number of frames in which they
agree (overlap of the boxes of at least one half) is largest; twice this number is divided by the number of true and
found boxes.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from measuring import Row
from scenes import make_scenes
from scipy.optimize import linear_sum_assignment

from blear.imaging import Box
from blear.plugin.discovery import load_plugins
from blear.predict.appearance_tracker import AppearanceTracker
from blear.predict.detectors import DetectedFace, LocatorDetector
from blear.predict.locators import find_locator
from blear.predict.sparse import SparseDetector
from blear.predict.trackers import FaceTracker, TrackedFace, overlap
from blear.predict.video import FrameWindow, frame_windows

Found = list[dict[str, Box]]
"""Frame by frame: identity -> box."""
SETTINGS = {  # predicted frames, frames between detections
    "every frame detected": (1, 1),
    "every 3rd frame detected": (1, 3),
    "every 5th frame detected": (1, 5),
    "every 5th frame read": (5, 5),
}


class OverlapTracker:
    """The tracker of before: overlap with each track's last box, no cuts, no appearance."""

    def __init__(self) -> None:
        self._tracks: dict[int, tuple[int, Box]] = {}
        self._frames, self._last = 0, 0

    def __call__(self, window: FrameWindow, detected: Sequence[DetectedFace]) -> list[TrackedFace]:
        self._frames += 1
        self._tracks = {track: last for track, last in self._tracks.items() if self._frames - last[0] <= 6}
        tracks = list(self._tracks)
        ids: dict[int, int] = {}
        if tracks and detected:
            table = np.array([[overlap(self._tracks[track][1], face.box) for face in detected] for track in tracks])
            for row, column in zip(*linear_sum_assignment(table, maximize=True), strict=True):
                if table[row, column] >= 0.3:
                    ids[column] = tracks[row]
        faces = []
        for number, face in enumerate(detected):
            if number not in ids:
                self._last += 1
                ids[number] = self._last
            self._tracks[ids[number]] = self._frames, face.box
            faces.append(TrackedFace(face.box, ids[number]))
        return faces


def idf1(true: Found, found: Found) -> float:
    """IDF1 of the frames."""
    agreeing: Counter[tuple[str, str]] = Counter()
    for ours, theirs in zip(true, found, strict=True):
        for person, box in ours.items():
            agreeing.update((person, track) for track, other in theirs.items() if overlap(box, other) >= 0.5)
    people, tracks = (sorted({name for frame in frames for name in frame}) for frames in (true, found))
    table = np.array([[agreeing[person, track] for track in tracks] for person in people]).reshape(len(people), -1)
    matched = table[linear_sum_assignment(table, maximize=True)].sum() if table.size else 0
    total = sum(map(len, true)) + sum(map(len, found))
    return float(2 * matched / total) if total else 1.0


class KnownFaces:
    """A detector that looks up the faces of the default detector, which has seen every frame of a scene; it counts."""

    def __init__(self, windows: Sequence[FrameWindow]) -> None:
        detector = LocatorDetector(find_locator(None, load_plugins()))
        self._faces = {window.frame: detector([window])[0] for window in windows}
        self.frames = 0

    def __call__(self, windows: Sequence[FrameWindow]) -> list[list[DetectedFace]]:
        self.frames += len(windows)
        return [self._faces[window.frame] for window in windows]


def track(
    windows: Sequence[FrameWindow], detector: KnownFaces, spacing: int, tracker: Callable[[], FaceTracker]
) -> Found:
    """Tracks the faces of a scene."""
    follow, found = tracker(), []
    for batch in SparseDetector(detector, spacing)(windows):
        for window, detected in batch:
            found.append({str(face.id): face.box for face in follow(window, detected)})
    return found


def measure() -> list[Row]:
    """IDF1 by kind of scene and setting; recall and overlap of the boxes; share of the frames that were detected."""
    results: dict[tuple[str, str, str], tuple[float, int, int]] = {}
    before: dict[str, list[float]] = {}
    boxes: dict[str, list[float]] = {name: [] for name in SETTINGS}
    frames, detected = dict.fromkeys(SETTINGS, 0), dict.fromkeys(SETTINGS, 0)
    with tempfile.TemporaryDirectory() as folder:
        for scene in make_scenes(Path(folder)):
            windows = list(frame_windows(scene.file, 1, 1))
            detector = KnownFaces(windows)
            found = track(windows, detector, 1, OverlapTracker)
            before.setdefault(scene.kind, []).append(idf1(scene.faces, found))
            for setting, (every, spacing) in SETTINGS.items():
                detector.frames, true = 0, scene.faces[::every]
                found = track(windows[::every], detector, spacing, AppearanceTracker)
                ids, people = (len({name for frame in each for name in frame}) for each in (found, true))
                results[setting, scene.kind, scene.name] = idf1(true, found), ids, people
                frames[setting] += len(true)
                detected[setting] += detector.frames
                for ours, theirs in zip(true, found, strict=True):
                    boxes[setting] += [
                        max((overlap(b, o) for o in theirs.values()), default=0.0) for b in ours.values()
                    ]
    rows = []
    for setting in SETTINGS:
        for (of, kind, name), (value, ids, people) in results.items():
            if of == setting:
                rows.append(Row(f"{setting}, {kind}: {name} ({ids} ids of {people} people)", value, "IDF1"))
        for kind in before:
            values = [value for (of, other, _), (value, *_) in results.items() if (of, other) == (setting, kind)]
            rows.append(Row(f"{setting}, {kind}", float(np.mean(values)), "IDF1"))
        hits = [value for value in boxes[setting] if value >= 0.5]
        rows.append(Row(f"{setting}, recall", len(hits) / len(boxes[setting]), "of the faces"))
        rows.append(Row(f"{setting}, mean overlap", float(np.mean(hits)), "IoU"))
        rows.append(Row(f"{setting}, through the detector", detected[setting] / frames[setting], "of the frames"))
    rows += [Row(f"overlap alone, {kind}", float(np.mean(values)), "IDF1") for kind, values in before.items()]
    return rows
