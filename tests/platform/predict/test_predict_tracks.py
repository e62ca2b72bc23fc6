"""Tracking by motion and appearance, shots, detection on some of the frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from blear.imaging import Box
from blear.predict.appearance import appearance_distance, describe_appearance
from blear.predict.appearance_tracker import AppearanceTracker, _correct, _Seen, _Track
from blear.predict.detectors import DetectedFace
from blear.predict.motion import FaceMotion
from blear.predict.shots import ShotCounter
from blear.predict.sparse import SparseDetector
from blear.predict.trackers import overlap
from blear.predict.video import FrameWindow, windows
from blear.video import VideoFrame

RED, BLUE, GREEN = (200, 60, 50), (50, 70, 190), (60, 180, 70)
FPS = 25


def scene(number: int, people: Sequence[tuple[float, tuple[int, int, int]]], shot: int = 0) -> FrameWindow:
    """People of one colour each; the centres of their faces of 24 x 30 pixels are columns; later ones are in front."""
    image = np.full((120, 320, 3), 110, np.uint8)
    for x, colour in people:
        left, right = max(0, round(x) - 20), max(0, round(x) + 20)
        image[25:110, left:right] = colour
        image[40:70, max(0, round(x) - 12) : max(0, round(x) + 12)] = (225, 180, 150)
    return FrameWindow(number, number / FPS, (image,), shot=shot)


def face(x: float, *, score: float = 0.9) -> DetectedFace:
    return DetectedFace(Box(x - 12, 40, 24, 30), score)


def ids(tracker: AppearanceTracker, number: int, people: list[tuple[float, tuple]], shot: int = 0) -> list[object]:
    """Identities of the people whose faces no other person covers."""
    seen = [k for k, (x, _) in enumerate(people) if all(abs(x - other) > 20 for other, _ in people[k + 1 :])]
    tracked = tracker(scene(number, people, shot), [face(people[k][0]) for k in seen])
    by_person = dict(zip(seen, (one.id for one in tracked), strict=True))
    return [by_person.get(k) for k in range(len(people))]


@pytest.mark.parametrize(
    ("red", "blue"),
    [
        (lambda s: 60 + 100 * s, lambda s: 260 - 100 * s),  # they pass
        (lambda s: 60 + 95 * np.sin(np.pi * s / 2), lambda s: 260 - 95 * np.sin(np.pi * s / 2)),  # they turn back
    ],
)
@pytest.mark.parametrize("every", [1, 5])
def test_people_who_cross_keep_their_identities(red: Callable, blue: Callable, every: int) -> None:
    tracker = AppearanceTracker()
    found = [ids(tracker, n, [(red(n / FPS), RED), (blue(n / FPS), BLUE)]) for n in range(0, 2 * FPS + 1, every)]
    first = found[0]
    assert sorted(first, key=str) == [1, 2]
    assert found[-1] == first
    for expected, seen in zip(first, zip(*found, strict=True), strict=True):
        assert set(seen) <= {expected, None}


def test_a_cut_ends_all_tracks_and_a_flash_does_not() -> None:
    tracker = AppearanceTracker()
    assert [ids(tracker, n, [(100, RED)], shot) for n, shot in enumerate((0, 0, 1, 1, 2))] == [[1], [1], [2], [2], [3]]
    tracker = AppearanceTracker()
    assert [ids(tracker, n, [(100, RED)], shot) for n, shot in enumerate((0, 1, 0))] == [[1], [2], [1]]


def test_who_returns_keeps_the_identity_and_who_is_new_gets_another() -> None:
    tracker = AppearanceTracker()
    assert ids(tracker, 0, [(100, RED), (200, BLUE)]) == [1, 2]
    for n in range(5, 100, 5):
        assert ids(tracker, n, [(200, BLUE)]) == [2]
    assert ids(tracker, 100, [(60, GREEN), (200, BLUE)]) == [3, 2]
    assert ids(tracker, 105, [(60, GREEN), (200, BLUE), (280, RED)]) == [3, 2, 1]


def test_a_wrong_assignment_is_corrected_when_the_colours_are_seen() -> None:
    tracker = AppearanceTracker()
    assert ids(tracker, 0, [(100, RED), (130, BLUE)]) == [1, 2]
    swapped = [DetectedFace(face(x).box, interpolated=True) for x in (128, 102)]  # no colours: the place decides
    assert [one.id for one in tracker(scene(1, []), swapped)] == [2, 1]
    for n in range(2, 7):
        people = [(128 + 8 * n, RED), (102 - 8 * n, BLUE)]
        found = ids(tracker, n, people)
    assert found == [1, 2]


def test_a_wrong_assignment_of_three_tracks_is_corrected() -> None:
    """Red has a new track in other colours, and blue that of red; the track of blue is lost."""
    people = [(60, RED), (160, BLUE), (260, GREEN)]
    window = scene(0, people)
    looks = [describe_appearance(window.image_HWC, face(x).box) for x, _ in people]
    red, blue, new = (
        _Track(id_, 0, FaceMotion(face(x).box, 0.0), looks[k], 0.0, 27.0)
        for id_, k, x in ((1, 0, 160), (2, 1, 20), (3, 2, 60))
    )
    seen = [_Seen(face(x).box, looks[k], False, True) for k, (x, _) in enumerate(people[:2])]
    matched = {0: new, 1: red}
    _correct(seen, matched, [red, blue, new])
    assert [matched[number].id for number in (0, 1)] == [1, 2]
    for track, x in ((red, 60), (blue, 160), (new, 20)):  # the places went with the faces
        assert track.motion.predict(0.0)[0].left == pytest.approx(x - 12)


def test_without_colours_the_place_decides() -> None:
    tracker = AppearanceTracker()
    far = [DetectedFace(Box(50, 40, 3, 3)), DetectedFace(Box(150, 40, 3, 3))]
    assert [one.id for one in tracker(scene(0, []), far)] == [1, 2]
    moved = [DetectedFace(Box(151, 41, 3, 3), interpolated=True), DetectedFace(Box(51, 40, 3, 3), interpolated=True)]
    assert [one.id for one in tracker(scene(1, []), moved)] == [2, 1]


def test_colours_of_a_person_are_nearer_than_those_of_another() -> None:
    one, same, other = (
        describe_appearance(scene(0, [(x, colour)]).image_HWC, face(x).box)
        for x, colour in ((100, RED), (140, RED), (100, BLUE))
    )
    assert appearance_distance(one, same) < 0.05
    assert appearance_distance(one, other) > 0.2
    outside = describe_appearance(scene(0, []).image_HWC, Box(-500, -500, 24, 30))
    assert not outside.any()
    crowd = scene(0, [(100, RED), (128, BLUE)]).image_HWC
    masked, mixed = (describe_appearance(crowd, face(100).box, others) for others in ([face(128).box], []))
    assert appearance_distance(one, masked) < 0.6 * appearance_distance(one, mixed)


def test_a_face_is_expected_where_its_speed_leads() -> None:
    motion = FaceMotion(Box(0, 0, 20, 20), 0.0)
    for n in range(1, 26):
        motion.update(Box(2 * n, -n, 20, 20), n / FPS)
    expected, deviation = motion.predict(26 / FPS)
    assert (expected.left, expected.top) == pytest.approx((52, -26), abs=1)
    later, wider = motion.predict(3.0)
    assert wider > 5 * deviation  # the longer a face is missing, the less its place is known
    assert 52 < later.left < 110  # and it slows down: 2 pixels a frame would lead to 150


def thumbnails(levels: Sequence[int]) -> list[int]:
    counter, pattern = ShotCounter(), np.random.default_rng(0).integers(0, 60, (36, 64, 3))
    return [counter((pattern + level).astype(np.uint8)) for level in levels]


def test_shots_begin_at_hard_cuts() -> None:
    assert thumbnails([0, 1, 2, 1, 60, 61, 60, 120, 121]) == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert thumbnails(list(range(0, 120, 4))) == [0] * 30  # a slow change
    assert thumbnails([0, 1, 180, 1, 0]) == [0, 0, 1, 0, 0]  # a flash
    assert thumbnails([0, 0, 60, *[60] * 9, 0]) == [0, 0, *[1] * 10, 2]  # a return after a longer shot is a cut


def test_a_clip_holds_no_frames_of_the_shot_before() -> None:
    levels = [0, 0, 0, 90, 90, 90]
    frames = [
        VideoFrame(n, n / FPS, lambda level=level: np.full((36, 64, 3), level, np.uint8), 1.0, damaged=False)
        for n, level in enumerate(levels)
    ]
    clips = [[int(image[0, 0, 0]) for image in one.images] for one in windows(frames, lambda frame: True, 3)]
    assert clips == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [90, 90, 90], [90, 90, 90], [90, 90, 90]]


class Recorded:
    """A detector of known faces, which records the frames that it saw."""

    def __init__(self, faces: Callable[[int], list[DetectedFace]]) -> None:
        self.faces, self.seen = faces, []

    def __call__(self, windows: Sequence[FrameWindow]) -> list[list[DetectedFace]]:
        self.seen += [window.frame for window in windows]
        return [self.faces(window.frame) for window in windows]


def detect(faces: Callable[[int], list[DetectedFace]], spacing: int, shots: Sequence[int]) -> tuple[list, list[int]]:
    image, recorded = np.zeros((120, 320, 3), np.uint8), Recorded(faces)
    frames = [FrameWindow(n, n / FPS, (image,), shot=shot) for n, shot in enumerate(shots)]
    found = [faces for batch in SparseDetector(recorded, spacing, batch_frames=8)(frames) for _, faces in batch]
    return found, recorded.seen


@pytest.mark.parametrize("spacing", [1, 5, 10])
def test_boxes_between_detections_lie_on_the_way(spacing: int) -> None:
    def moving(n: int) -> list[DetectedFace]:
        points = np.full((5, 2), n, np.float32)
        left, right = (
            DetectedFace(face(x).box, score, points) for x, score in ((40 + 0.6 * n, 0.9), (200 - 0.6 * n, 0.8))
        )
        return [left, right] if n % 2 else [right, left]  # detectors give faces in any order

    found, seen = detect(moving, spacing, [0] * 22)
    assert sorted(seen) == sorted({*range(0, 22, spacing), 21})
    for n, faces in enumerate(found):
        assert {round(one.box.left, 6) for one in faces} == {round(one.box.left, 6) for one in moving(n)}
        assert {one.interpolated for one in faces} == {n not in seen}
        assert faces[0].points_52[0, 0] == pytest.approx(n, abs=1e-5)
        assert {round(one.score, 6) for one in faces} == {0.9, 0.8}


def test_still_faces_are_detected_at_wider_intervals() -> None:
    _, seen = detect(lambda n: [face(40), face(200)], 3, [0] * 60)
    assert sorted(seen) == [0, 3, 6, 9, 15, 21, 30, 39, 48, 57, 59]  # batches end at 9, 21, 30, ...
    _, seen = detect(lambda n: [face(40)], 3, [0] * 24 + [1] * 24)  # a new shot begins as the first one
    assert sorted(seen) == [0, 3, 6, 9, 15, 21, 23, 24, 27, 30, 33, 36, 39, 45, 47]
    _, seen = detect(lambda n: [face(40 + 6 * (n >= 33))], 3, [0] * 60)  # a face moves
    assert sorted(seen)[7:] == [39, 42, 45, 48, 54, 59]
    _, seen = detect(lambda n: [], 3, [0] * 20)  # of people who may come, nothing is known
    assert sorted(seen) == [0, 3, 6, 9, 12, 15, 18, 19]


def test_a_detector_continues_with_its_interval() -> None:
    recorded = Recorded(lambda n: [face(40)])
    frames = [FrameWindow(n, n / FPS, (np.zeros((120, 320, 3), np.uint8),)) for n in range(60)]
    detector = SparseDetector(recorded, 3, batch_frames=8)
    batches = detector(frames)
    last = [next(batches)[-1] for _ in range(2)][-1]
    state, number = detector.state(), last[0].frame
    again = SparseDetector(Recorded(recorded.faces), 3, batch_frames=8)
    again.restore(state)
    rest = [window.frame for batch in again(frames[number + 1 :], last) for window, _ in batch]
    list(batches)
    assert rest == list(range(number + 1, 60))
    assert again.detector.seen == [one for one in recorded.seen if one > number]


def test_more_frames_are_detected_where_something_happens() -> None:
    def coming(n: int) -> list[DetectedFace]:
        return [face(40 + n % 2 * 7)] + [face(200)] * (n >= 13)

    found, seen = detect(coming, 5, [0] * 30)
    assert sorted(seen) == [0, 5, 10, 12, 13, 15, 20, 25, 29]  # 12 and 13: halves of 10 to 15
    assert [len(faces) for faces in found] == [1] * 13 + [2] * 17
    _, seen = detect(lambda n: [face(20 + 8 * n)], 5, [0] * 11)  # faster than half of its side in five frames
    assert sorted(seen) == list(range(11))
    _, seen = detect(lambda n: [face(100), face(110)], 5, [0] * 11)  # one face in front of another
    assert sorted(seen) == list(range(11))


def test_the_ends_of_a_shot_are_detected() -> None:
    found, seen = detect(lambda n: [face(40 if n < 7 else 200)], 5, [0] * 7 + [1] * 6)
    assert sorted(seen) == [0, 5, 6, 7, 12]
    assert [faces[0].box.left for faces in found] == pytest.approx([28] * 7 + [188] * 6)


def test_the_overlap_of_two_boxes_is_that_computed_by_hand() -> None:
    assert overlap(Box(0, 0, 10, 10), Box(5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert overlap(Box(0, 0, 10, 10), Box(20, 0, 10, 10)) == 0
    assert overlap(Box(0, 0, 10, 10), Box(0, 0, 10, 10)) == 1


def test_who_was_hardly_visible_at_first_gets_the_number_of_before() -> None:
    tracker = AppearanceTracker()
    assert ids(tracker, 0, [(60, RED), (280, BLUE)]) == [1, 2]
    for n in range(1, 10):
        assert ids(tracker, n, [(60, RED)]) == [1]
    hidden = [face(60), DetectedFace(face(100).box, 0.9, interpolated=True)]  # no colours are seen
    assert [one.id for one in tracker(scene(10, [(60, RED)]), hidden)] == [1, 3]
    assert ids(tracker, 11, [(60, RED), (110, BLUE)]) == [1, 2]
    assert ids(tracker, 12, [(60, RED), (120, BLUE), (280, GREEN)]) == [1, 2, 4]


@pytest.mark.parametrize("every", [5, 8])
def test_who_turns_round_between_two_frames_keeps_the_number_in_other_light(every: int) -> None:
    tracker = AppearanceTracker()
    for number in range(0, 75, every):
        x = 30 + 4.4 * (37.5 - abs(number - 37.5))  # there and back, 4 sides in a second
        colour = RED if x < 120 else (190, 55, 90)
        assert ids(tracker, number, [(x, colour), (290, BLUE)]) == [1, 2]


def test_a_face_in_its_place_keeps_the_number_whatever_its_colours() -> None:
    tracker = AppearanceTracker()
    for n in range(20):
        colour = tuple(round((1 - n / 19) * a + n / 19 * b) for a, b in zip(RED, BLUE, strict=True))
        assert ids(tracker, n, [(100, colour), (145, GREEN)]) == [1, 2]  # nobody is so near that faces overlap
