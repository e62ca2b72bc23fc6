"""Runs a face detector on some of the frames; faces between two detections are interpolated where nothing happens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from blear.imaging import Box
from blear.predict.detectors import DetectedFace, Detector
from blear.predict.trackers import overlap
from blear.predict.video import FrameWindow

_SAME_FACE = 0.5  # smallest overlap of a face with itself in the next detection
_CROSSING = 0.1  # overlap of two faces of one frame above which all frames are detected
_STILL = 0.8  # smallest overlap of a face with itself above which the next detections are further apart
_WIDEST = 3  # times `spacing`

Detected = tuple[FrameWindow, list[DetectedFace]]


class SparseDetector:
    """Detects faces in every `spacing`-th frame of a video, and in the first and the last frame of each shot.

    Between two detections with the same faces, each of which overlaps itself by half and no other face, boxes and
    landmarks are interpolated linearly. Otherwise the detector runs on the frame in the middle, and so on. While faces
    keep their places (each overlaps itself by 80 %), the spacing doubles from batch to batch, up to three times
    `spacing`; it is `spacing` again where one moves, comes or goes.

    Args:
        detector: detects the faces of several frames.
        spacing: frames of the video from one detection to the next, where faces move; 1: every frame is detected.
        batch_bytes: frames of at most about this size are held; those of a third of it are detected together.
        batch_frames: number of frames that are held at most, where `spacing` allows.
    """

    def __init__(self, detector: Detector, spacing: int, batch_bytes: int = 48 << 20, batch_frames: int = 16) -> None:
        self.detector, self.spacing = detector, spacing
        self.batch_bytes, self.batch_frames = batch_bytes, batch_frames
        self._spacing = spacing  # of the present frames
        self._shot_ends = False  # with the last frame of the batch

    def state(self) -> int:
        """See `Stateful`."""
        return self._spacing

    def restore(self, state: int) -> None:
        """See `Stateful`."""
        self._spacing = state

    def __call__(self, windows: Iterable[FrameWindow], before: Detected | None = None) -> Iterator[list[Detected]]:
        """Yields batches of frames of one size with their faces, in order. The last frame of a batch is detected.

        Args:
            before: the last frame of an earlier batch of the same video, after which `windows` begin.
        """
        batch: list[tuple[FrameWindow, bool]] = []
        stored = 0
        for window, is_key in self._marked(windows, before):
            batch.append((window, is_key))
            stored += sum(image_HWC.nbytes for image_HWC in window.images)
            if is_key and (stored >= self.batch_bytes // 3 or len(batch) >= self.batch_frames):
                done = self._detect(before, batch)
                before, batch, stored = (replace(window, images=()), done[-1][1]), [], 0  # images are large
                yield done
                del done, window
        if batch:
            yield self._detect(before, batch)

    def _marked(self, windows: Iterable[FrameWindow], before: Detected | None) -> Iterator[tuple[FrameWindow, bool]]:
        """Each frame, and whether it is detected for certain; the last one is."""
        if self.spacing == 1:
            yield from ((window, True) for window in windows)
            return
        waiting: FrameWindow | None = None
        key, stored = -math.inf, 0
        for window in windows:
            if waiting is None and before is not None and before[0].shot == window.shot:
                key = before[0].frame
            if waiting is not None:
                stored += sum(image_HWC.nbytes for image_HWC in waiting.images)
                ends = window.shot != waiting.shot or window.image_HWC.shape != waiting.image_HWC.shape
                self._shot_ends = ends
                if ends:
                    self._spacing = self.spacing
                is_key = ends or waiting.frame - key >= self._spacing or stored >= self.batch_bytes
                yield waiting, is_key
                if is_key:
                    key, stored = -math.inf if ends else waiting.frame, 0
            waiting = window
        if waiting is not None:
            yield waiting, True

    def _detect(self, before: Detected | None, batch: Sequence[tuple[FrameWindow, bool]]) -> list[Detected]:
        keys = [place for place, (_, is_key) in enumerate(batch) if is_key]
        found = dict(self._detect_frames(keys, batch))
        gaps = list(pairwise([-1, *keys]))  # -1 is the last frame of the batch before
        self._choose_spacing([*([] if before is None else [before]), *((batch[key][0], found[key]) for key in keys)])
        while gaps:
            halves: list[tuple[int, int]] = []
            middles: list[int] = []
            for first, last in gaps:
                between = range(first + 1, last)
                if not between:
                    continue
                left = before if first < 0 else (batch[first][0], found[first])
                right = batch[last][0], found[last]
                faces = None if left is None else _interpolate(left, right, [batch[place][0] for place in between])
                if faces is not None:
                    found |= dict(zip(between, faces, strict=True))
                else:
                    middle = (first + last) // 2
                    middles.append(middle)
                    halves += [(first, middle), (middle, last)]
            found |= dict(self._detect_frames(middles, batch))
            gaps = halves
        return [(window, found[place]) for place, (window, _) in enumerate(batch)]

    def _choose_spacing(self, detected: Sequence[Detected]) -> None:
        """Chooses the spacing of the next frames from successive detections."""
        still = (
            not self._shot_ends
            and len(detected) > 1
            and all(_overlap(old, new) >= _STILL for old, new in pairwise(detected))
        )
        self._spacing = min(2 * self._spacing, _WIDEST * self.spacing) if still else self.spacing

    def _detect_frames(
        self, places: Sequence[int], batch: Sequence[tuple[FrameWindow, bool]]
    ) -> Iterator[tuple[int, list[DetectedFace]]]:
        """The faces of some frames; those of one size are detected together."""
        first = 0
        while first < len(places):
            shape = batch[places[first]][0].image_HWC.shape
            last = first + 1
            while last < len(places) and batch[places[last]][0].image_HWC.shape == shape:
                last += 1
            part = places[first:last]
            yield from zip(part, self.detector([batch[place][0] for place in part]), strict=True)
            first = last


def _interpolate(before: Detected, after: Detected, between: Sequence[FrameWindow]) -> list[list[DetectedFace]] | None:
    """The faces of the frames between two detections, in the order of those after; None: detect the frames."""
    (first, old), (last, new) = before, after
    pairs = _pairs(old, new) if first.shot == last.shot else None
    if pairs is None:
        return None
    frames = []
    for window in between:
        share = (window.seconds - first.seconds) / max(1e-9, last.seconds - first.seconds)
        frames.append([_between(one, other, min(1.0, max(0.0, share))) for one, other in pairs])
    return frames


def _overlap(before: Detected, after: Detected) -> float:
    """The smallest overlap of a face with itself; 0 where there is none, or the faces do not correspond."""
    pairs = _pairs(before[1], after[1]) if before[0].shot == after[0].shot else None
    return min((overlap(old.box, new.box) for old, new in pairs or ()), default=0.0)


def _pairs(old: Sequence[DetectedFace], new: Sequence[DetectedFace]) -> list[tuple[DetectedFace, DetectedFace]] | None:
    """Each face in both detections, in the order of `new`; None where they do not correspond one to one."""
    if len(old) != len(new):
        return None
    if not old:
        return []
    for faces in (old, new):
        if any(overlap(a.box, b.box) > _CROSSING for k, a in enumerate(faces) for b in faces[:k]):
            return None
    from scipy.optimize import linear_sum_assignment  # 40 MB

    overlaps = np.array([[overlap(a.box, b.box) for b in old] for a in new])
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    if overlaps[rows, columns].min() < _SAME_FACE:
        return None
    return [(old[column], new[row]) for row, column in zip(rows, columns, strict=True)]


def _between(old: DetectedFace, new: DetectedFace, share: float) -> DetectedFace:
    def mix(a: float, b: float) -> float:
        return (1 - share) * a + share * b

    a, b = old.box, new.box
    box = Box(mix(a.left, b.left), mix(a.top, b.top), mix(a.width, b.width), mix(a.height, b.height))
    score = None if old.score is None or new.score is None else mix(old.score, new.score)
    points = None
    if old.points_52 is not None and new.points_52 is not None:
        points = ((1 - share) * old.points_52 + share * new.points_52).astype(np.float32)
    return DetectedFace(box, score, points, interpolated=True)
