"""Tracks faces by motion and appearance, within each shot of a video."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blear.imaging import Box
from blear.predict.appearance import Appearance, appearance_distance, blend, describe_appearance
from blear.predict.detectors import DetectedFace
from blear.predict.motion import FaceMotion, measured
from blear.predict.trackers import TrackedFace, overlap
from blear.predict.video import FrameWindow
from blear.predict.video_state import array_from_json, array_to_json

_NEVER = 1e6
_WORST = 20.0  # cost above which a face is no continuation of a track
_DEVIATIONS = 4.0  # between the expected and the detected centre
_SIZES = 2.0  # largest ratio of the sides of a face in successive detections
_LOOKS = 0.07  # typical distance in appearance of two frames of one person
_OTHER_PERSON = 0.4  # distance in appearance above which a face is no continuation, wherever it lies
_SAME_PERSON, _MARGIN = 0.16, 0.04  # greatest distance at a return, and how much nearer than every other person
_SURE = 0.5  # overlap with the expected place from which on it counts more than the appearance
_TURN_S, _TURNED = 0.5, 0.3  # seconds since the last face, and distance in appearance, of a face that has turned
_GAIN = 0.1  # least decrease of the summed distances in appearance at which two tracks are exchanged
_OCCLUDED = 0.05  # overlap with another face above which a face does not change the appearance of its track
_SHARE = 0.1  # of a new frame in the appearance of a track
_DOUBTFUL_SHARE = 0.02  # of a frame that differs, or in which another person is near
_PROVISIONAL_S = 2.0  # age of a new track up to which it may turn out to be that of a person who was lost
_MOST_TRACKS = 100


@dataclass
class _Track:
    """One person in one shot.

    Attributes:
        looks: average appearance; None: not seen yet.
        seconds, side: time and side of the last face.
        began: time of the first face that no other face covers; until then, of the last one.
        is_clear: whether there was such a face.
    """

    id: int
    shot: int
    motion: FaceMotion
    looks: Appearance | None
    seconds: float
    side: float
    count: int = 1
    began: float = 0.0
    is_clear: bool = True

    def exchange_place(self, other: _Track) -> None:
        """Exchanges everything but number and colours."""
        self.motion, other.motion = other.motion, self.motion
        self.seconds, other.seconds = other.seconds, self.seconds
        self.side, other.side = other.side, self.side


@dataclass(frozen=True)
class _Seen:
    """One detected face.

    Attributes:
        looks: None where nothing of it is visible.
        covered: another face overlaps it.
        alone: nobody is so near that their shoulders could cover each other.
    """

    box: Box
    looks: Appearance | None
    covered: bool
    alone: bool

    @property
    def side(self) -> float:
        return math.sqrt(max(1e-6, self.box.width * self.box.height))


class AppearanceTracker:
    """Gives each face the number of its person, from 1, by place and by the colours of face, hair and clothes.

    All faces of a frame are assigned together (Hungarian method); the cost of a pair is its negative logarithmic
    likelihood. A face that is not where the speed of its track leads may have turned round since the last frame, if it
    looks like the track and can be reached. A face in the expected place that no other face covers continues its track
    even if its appearance has changed. Where people cross, the place is ambiguous and the colours decide. Two tracks
    are exchanged afterwards if the people are seen apart and each has the colours of the other track. A track ends with
    its shot. Until then, a person who left and returns after more than `lost_s` gets the same number if the colours are
    those of one lost track only. A person who comes out from behind another one, or into the picture, is hardly visible
    at first and may get a new number, which is replaced by that of the lost track when more is seen.

    Args:
        lost_s: seconds after the last detection during which the place of a face counts.
        memory_s: seconds after which a person who left is forgotten.
    """

    def __init__(self, lost_s: float = 3.0, memory_s: float = 120.0) -> None:
        self.lost_s, self.memory_s = lost_s, memory_s
        self._tracks: list[_Track] = []
        self._last_id = 0

    def __call__(self, window: FrameWindow, detected: Sequence[DetectedFace]) -> list[TrackedFace]:
        """Every face, in the order of `detected`."""
        now, image_HWC = window.seconds, window.image_HWC
        seen = [_see(image_HWC, detected, number) for number in range(len(detected))]
        self._tracks = [
            track
            for track in self._tracks[-_MOST_TRACKS:]
            if window.shot - track.shot < 2 and now - track.seconds <= self.memory_s
        ]
        here = [track for track in self._tracks if track.shot == window.shot]
        matched: dict[int, _Track] = {}
        recent = [track for track in here if now - track.seconds <= self.lost_s]
        _assign(recent, seen, matched, lambda track, face: _continuation_cost(track, face, now))
        lost = [track for track in recent if track not in matched.values() and now - track.seconds <= _TURN_S]
        _assign(lost, seen, matched, lambda track, face: _turn_cost(track, face, now))
        away = [track for track in here if track not in matched.values()]
        _assign(away, seen, matched, lambda track, face: _return_cost(track, face, here))
        _correct(seen, matched, here)
        self._rejoin(seen, matched, here, now)
        faces = []
        for number, face in enumerate(seen):
            track = matched.get(number)
            if track is None:
                track = self._begin(face, window)
            else:
                _update(track, face, now)
            faces.append(TrackedFace(face.box, track.id))
        return faces

    def state(self) -> dict[str, Any]:
        """The tracks, as values that JSON can hold; see `video_state.Stateful`."""
        tracks = [
            {
                "id": track.id,
                "shot": track.shot,
                "motion": track.motion.state(),
                "looks": None if track.looks is None else array_to_json(track.looks),
                "seconds": track.seconds,
                "side": track.side,
                "count": track.count,
                "began": track.began,
                "is_clear": track.is_clear,
            }
            for track in self._tracks
        ]
        return {"last_id": self._last_id, "tracks": tracks}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues with the tracks of a `state`."""
        self._last_id = state["last_id"]
        self._tracks = [
            _Track(
                **track
                | {
                    "motion": FaceMotion.from_state(track["motion"]),
                    "looks": None if track["looks"] is None else array_from_json(track["looks"]),
                }
            )
            for track in state["tracks"]
        ]

    def _rejoin(self, seen: Sequence[_Seen], matched: dict[int, _Track], here: Sequence[_Track], now: float) -> None:
        """Continues lost tracks with the faces of tracks that began a short time ago and look like them."""
        for number, track in list(matched.items()):
            face = seen[number]
            covered = face.looks is None or face.covered
            if not track.is_clear:
                track.began, track.is_clear = now, not covered
            if covered or now - track.began > _PROVISIONAL_S:
                continue
            rest = [other for other in here if other is not track]
            lost = [one for one in rest if one not in matched.values() and one.seconds < track.began]
            best = min(lost, key=lambda one: _return_cost(one, face, rest), default=None)
            if best is not None and _return_cost(best, face, rest) < _WORST:
                best.exchange_place(track)
                matched[number] = best
                self._tracks.remove(track)

    def _begin(self, face: _Seen, window: FrameWindow) -> _Track:
        self._last_id += 1
        now = window.seconds
        motion = FaceMotion(face.box, now)
        track = _Track(self._last_id, window.shot, motion, face.looks, now, face.side, 1, now, False)
        self._tracks.append(track)
        return track


def _near(one: Box, other: Box) -> bool:
    """Whether the shoulders of two people may cover each other."""
    width, height = max(one.width, other.width), max(one.height, other.height)
    x, y = one.left - other.left + (one.width - other.width) / 2, one.top - other.top + (one.height - other.height) / 2
    return abs(x) < 2 * width and abs(y) < 3 * height


def _see(image_HWC: np.ndarray, detected: Sequence[DetectedFace], number: int) -> _Seen:
    """Describes one of several faces; interpolated faces have no appearance."""
    face = detected[number]
    others = [other.box for place, other in enumerate(detected) if place != number]
    looks = None if face.interpolated else describe_appearance(image_HWC, face.box, others)
    covered = any(overlap(face.box, other) > _OCCLUDED for other in others)
    alone = not any(_near(face.box, other) for other in others)
    return _Seen(face.box, looks if looks is not None and looks.any() else None, covered, alone)


def _assign(
    tracks: Sequence[_Track], seen: Sequence[_Seen], matched: dict[int, _Track], cost: Callable[[_Track, _Seen], float]
) -> None:
    """Adds the cheapest assignment of the faces that have no track yet to `matched`: face -> track."""
    free = [number for number in range(len(seen)) if number not in matched]
    if not tracks or not free:
        return
    from scipy.optimize import linear_sum_assignment  # 40 MB

    costs = np.array([[cost(track, seen[number]) for number in free] for track in tracks])
    for row, column in zip(*linear_sum_assignment(np.minimum(costs, _WORST)), strict=True):
        if costs[row, column] < _WORST:
            matched[free[column]] = tracks[row]


def _correct(seen: Sequence[_Seen], matched: dict[int, _Track], here: Sequence[_Track]) -> None:
    """Exchanges the places of tracks where the colours show that an earlier assignment was wrong."""
    for number, track in list(matched.items()):
        now = appearance_distance(track.looks, seen[number].looks)
        if now is None or now <= _SAME_PERSON:
            continue
        for other in here:
            place = next((place for place, one in matched.items() if one is other), None)
            then = appearance_distance(other.looks, seen[number].looks)
            if other is track or then is None or then > _SAME_PERSON:
                continue
            if place is None:
                if now - then > _GAIN:
                    other.exchange_place(track)
                    matched[number] = other
                    break
                continue
            instead = _replacement(seen[place], other, track, [one for one in here if one not in matched.values()])
            if instead is not None and now - then + instead[1] > _GAIN:
                other.exchange_place(track)
                if instead[0] is not track:
                    instead[0].exchange_place(track)
                matched[number], matched[place] = other, instead[0]
                break


def _replacement(face: _Seen, own: _Track, offered: _Track, lost: Sequence[_Track]) -> tuple[_Track, float] | None:
    """The track that a face continues if it gives up its own one, and the decrease of its distance in appearance.

    Args:
        own: its track.
        offered: the track that it would get in exchange.
        lost: tracks without a face. One of them may look less like the face, but not less than its own track does.
    """
    before = appearance_distance(own.looks, face.looks)
    if before is None:
        return None
    found: list[tuple[_Track, float]] = []
    for one in (offered, *lost):
        after = appearance_distance(one.looks, face.looks)
        if after is not None and (after <= _SAME_PERSON or (one is not offered and after <= before)):
            found.append((one, before - after))
    return max(found, key=lambda each: each[1], default=None)


def _continuation_cost(track: _Track, face: _Seen, now: float) -> float:
    """Negative logarithmic likelihood that a face continues a track."""
    expected, deviation = track.motion.predict(now)
    if max(track.side / face.side, face.side / track.side) > _SIZES:
        return _NEVER
    spread = math.hypot(deviation, measured(track.side))
    x, y = (
        face.box.left + face.box.width / 2 - expected.left - expected.width / 2,
        face.box.top + face.box.height / 2 - expected.top - expected.height / 2,
    )
    away = math.hypot(x, y) / spread
    if away > _DEVIATIONS:
        return _NEVER
    size = math.log(face.side / track.side) / 0.2
    place = (away**2 + size**2) / 2 + 2 * math.log(max(1.0, spread / (2 * measured(track.side))))
    looks = appearance_distance(track.looks, face.looks)
    if looks is None:
        return place + 1
    if looks > _OTHER_PERSON and (face.covered or overlap(expected, face.box) < _SURE):
        return _NEVER
    return place + min(8.0, (looks / _LOOKS) ** 2 / 2)


def _turn_cost(track: _Track, face: _Seen, now: float) -> float:
    """Cost of a face to be that of a track which has changed its direction since the last frame."""
    last, way = track.motion.turned(now)
    looks = appearance_distance(track.looks, face.looks)
    if looks is None or looks > _TURNED or max(track.side / face.side, face.side / track.side) > _SIZES:
        return _NEVER
    x, y = (
        face.box.left + face.box.width / 2 - last.left - last.width / 2,
        face.box.top + face.box.height / 2 - last.top - last.height / 2,
    )
    away = math.hypot(x, y)
    return _NEVER if away > way + track.side / 2 else away / track.side + (looks / _LOOKS) ** 2 / 2


def _return_cost(track: _Track, face: _Seen, here: Sequence[_Track]) -> float:
    """Cost of a face to be a person who was lost, by appearance alone."""
    looks = appearance_distance(track.looks, face.looks)
    others = [appearance_distance(other.looks, face.looks) for other in here if other is not track]
    nearest = min((other for other in others if other is not None), default=1.0)
    return _NEVER if looks is None or looks > _SAME_PERSON or looks + _MARGIN > nearest else looks


def _update(track: _Track, face: _Seen, now: float) -> None:
    track.motion.update(face.box, now)
    track.seconds, track.side, track.count = now, face.side, track.count + 1
    if track.looks is None:
        track.looks = face.looks
    elif face.looks is not None and not face.covered:
        looks = appearance_distance(track.looks, face.looks)
        known = looks is None or looks <= _SAME_PERSON
        if face.alone and known:
            track.looks = blend(track.looks, face.looks, max(_SHARE, 1 / track.count))
        elif face.alone or known:
            track.looks = blend(track.looks, face.looks, _DOUBTFUL_SHARE)
