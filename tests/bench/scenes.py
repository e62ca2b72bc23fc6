"""Videos with known tracks: people of real clips, cut out of their backgrounds, who move over another background.

The boxes of the faces are those that the default locator finds in the source clips, smoothed, and moved with the
people.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from blear.imaging import Box
from blear.plugin.discovery import load_plugins
from blear.predict.locators import find_locator
from blear.video import read_video

DATA = Path(os.environ.get("BLEAR_DATA", Path(__file__).resolve().parents[2] / "../shared/data")) / "video"
WIDTH, HEIGHT, FPS = 640, 360, 25
_FACE = 96  # height of a face in the cut-out pictures
_VISIBLE = 0.5  # share of a face's box that no other person covers, from which on the face must be found
_GRID = ("bbaf2n", "brbk7n", "lbax4n", "lrwp9a", "pwij3p", "swiz3n")
_HUES = {"grid": (80, 118, 60), "mead": (35, 88, 45)}  # of the screens behind the people, and least saturation


@dataclass(frozen=True)
class Person:
    """A person cut out of a clip: RGBA frames of about 1.5 s, which are shown forwards and backwards."""

    frames: list[np.ndarray]
    boxes: list[Box]

    def at(self, number: int) -> tuple[np.ndarray, Box]:
        """Picture and face of a frame."""
        period = 2 * len(self.frames) - 2
        place = number % period
        place = min(place, period - place)
        return self.frames[place], self.boxes[place]


@dataclass
class Scene:
    """A video file and its true faces: frame -> person of the shot -> box."""

    name: str
    kind: str
    file: Path
    faces: list[dict[str, Box]] = field(default_factory=list)


Place = Callable[[float], tuple[float, float, float] | None]
"""Seconds -> centre of the face and its height; None: the person is not in the scene."""


def make_scenes(folder: Path) -> list[Scene]:
    """Writes all scenes."""
    scenes = [_cuts(folder, "six people", [f"grid/{name}" for name in _GRID] * 2, 1.0)]
    scenes.append(
        _cuts(
            folder,
            "two people, one background",
            ["mead/M003_level_1_happy_024", "mead/M030_level_3_angry_016"] * 3,
            1.2,
        )
    )
    grid = [f"grid/{name}" for name in _GRID]
    for name, (kind, seconds, who, places) in _plays(grid).items():
        scenes.append(_moving(folder, name, kind, seconds, dict(zip(who, places, strict=True))))
    return scenes


def _plays(grid: list[str]) -> dict[str, tuple[str, float, list[str], list[Place]]]:
    a, b, c, d, e, f = grid
    ways: list[Place] = [_line(0.15 + 0.14 * k, 0.35 + 0.3 * (k % 2), 60, 0.04, 1.3 + 0.2 * k) for k in range(6)]
    return {
        "passing": ("crossings", 6, [a, f], [_walk(0.1, 0.9, 6), _walk(0.9, 0.1, 6)]),
        "passing, alike": ("crossings", 6, [c, d], [_walk(0.1, 0.9, 6), _walk(0.9, 0.1, 6)]),
        "turning back": ("crossings", 6, [b, e], [_turn(0.15, 0.5, 6), _turn(0.85, 0.5, 6)]),
        "turning back, alike": ("crossings", 6, [a, e], [_turn(0.15, 0.5, 6), _turn(0.85, 0.5, 6)]),
        "fast": ("crossings", 4, [d, f], [_walk(0.05, 0.95, 1.5), _walk(0.95, 0.05, 1.5)]),
        "three people": ("crossings", 8, [a, b, f], [_walk(0.1, 0.9, 8), _walk(0.9, 0.1, 8), _walk(0.5, 0.5, 8)]),
        "out and back": ("leaving and returning", 12, [a, f], [_leave(0.3, 2, 4, -0.3), _line(0.75, 0.5, 80, 0.02, 2)]),
        "back on the other side": (
            "leaving and returning",
            13,
            [b, d],
            [_leave(0.4, 2, 5, 1.4), _leave(0.6, 4, 3, -0.4)],
        ),
        "six people": ("crowd", 6, grid, ways),
    }


def _walk(start: float, end: float, seconds: float) -> Place:
    """From one side to the other and back, each in `seconds`."""

    def at(time: float) -> tuple[float, float, float]:
        phase = time / seconds % 2
        share = phase if phase < 1 else 2 - phase
        return WIDTH * (start + (end - start) * share), HEIGHT * 0.4, 80

    return at


def _turn(start: float, meeting: float, seconds: float) -> Place:
    """To the meeting point and back."""
    return lambda time: (
        WIDTH * (start + (meeting - start) * math.sin(math.pi * time / seconds) ** 2), HEIGHT * 0.4, 80
    )  # fmt: skip


def _line(x: float, y: float, height: float, sway: float, period: float) -> Place:
    """Sways about one place."""
    return lambda time: (WIDTH * (x + sway * math.sin(2 * math.pi * time / period)), HEIGHT * y, height)


def _leave(x: float, after: float, away: float, outside: float) -> Place:
    """Leaves after some seconds, is away, and returns to the same place; `outside`: where, in widths."""

    walk = 2.5

    def at(time: float) -> tuple[float, float, float] | None:
        back = after + walk + away
        if after + walk <= time < back:
            return None
        share = max(0.0, time - after) / walk if time < back else max(0.0, 1 - (time - back) / walk)
        return WIDTH * (x + (outside - x) * share), HEIGHT * 0.45, 90

    return at


def _moving(folder: Path, name: str, kind: str, seconds: float, people: dict[str, Place]) -> Scene:
    scene = Scene(name, kind, folder / f"{kind} {name}.mp4".replace(" ", "_"))
    background = cv2.GaussianBlur(_first_frame(DATA / "misc" / "no_face.mp4"), (0, 0), 2)
    with _Writer(scene.file) as writer:
        for number in range(round(seconds * FPS)):
            picture, boxes, shown = background.copy(), {}, {}
            for who, place in people.items():
                where = place(number / FPS)
                if where is not None:
                    boxes[who], shown[who] = _paste(picture, *person(who).at(number), where)
            scene.faces.append(_visible(boxes, shown))
            writer.write(picture)
    return scene


def _cuts(folder: Path, name: str, clips: list[str], seconds: float) -> Scene:
    """Whole frames of clips, one after another; each shot is a track of its own."""
    scene = Scene(name, "cuts", folder / f"cuts_{name}.mp4".replace(" ", "_").replace(",", ""))
    with _Writer(scene.file) as writer:
        for shot, clip in enumerate(clips):
            for number in range(round(seconds * FPS)):
                frame, box = _frames(clip)[number]
                small, scale = _fit(frame)
                left = (WIDTH - small.shape[1]) // 2
                picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
                picture[:, left : left + small.shape[1]] = small
                scene.faces.append({f"{shot} {clip}": _scaled(box, scale, left, 0)})
                writer.write(picture)
    return scene


def _small(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, (960, 540), interpolation=cv2.INTER_AREA) if frame.shape[0] > 540 else frame


def _fit(frame: np.ndarray) -> tuple[np.ndarray, float]:
    scale = HEIGHT / frame.shape[0]
    return cv2.resize(frame, (round(frame.shape[1] * scale), HEIGHT), interpolation=cv2.INTER_AREA), scale


@functools.cache
def _frames(clip: str) -> list[tuple[np.ndarray, Box]]:
    """The first frames of a clip with its face, whose box is averaged over five frames."""
    file = next(DATA.glob(f"{clip}.*"))
    frames = [_small(frame.image_HWC) for frame in islice(read_video(file, notice=lambda note: None), 45)]
    locator = find_locator(None, load_plugins())()
    found = [max(locator.faces(frame[None])[0], key=lambda face: face.box.width).box for frame in frames]
    sides = np.array([(box.left, box.top, box.width, box.height) for box in found])
    padded = np.pad(sides, ((2, 2), (0, 0)), mode="edge")
    smooth = np.stack([padded[k : k + len(sides)] for k in range(5)]).mean(axis=0)
    return [(frame, Box(*map(float, side))) for frame, side in zip(frames, smooth, strict=True)]


@functools.cache
def person(clip: str) -> Person:
    """The person of a clip before a screen of one colour, cut out, with a face of `_FACE` pixels."""
    low, high, saturation = _HUES[clip.split("/")[0]]
    frames, boxes = [], []
    for frame, box in _frames(clip):
        scale = _FACE / box.height
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
        screen = cv2.inRange(hsv, (low, saturation, 30), (high, 255, 255))
        around = _scaled(box, scale, 0, 0)
        screen[
            int(around.top) : int(around.top + around.height), int(around.left) : int(around.left + around.width)
        ] = 0
        alpha = cv2.GaussianBlur(cv2.morphologyEx(255 - screen, cv2.MORPH_CLOSE, np.ones((9, 9))), (0, 0), 1)
        frames.append(np.dstack((small, alpha)))
        boxes.append(around)
    return Person(frames, boxes)


def _paste(
    picture: np.ndarray, rgba: np.ndarray, box: Box, where: tuple[float, float, float]
) -> tuple[Box, np.ndarray]:
    """Draws a person into a picture; gives the box of the face and where the person covers the picture."""
    x, y, height = where
    scale = height / box.height
    left, top = x - scale * (box.left + box.width / 2), y - scale * (box.top + box.height / 2)
    matrix = np.array([[scale, 0, left], [0, scale, top]])
    moved = cv2.warpAffine(rgba, matrix, (picture.shape[1], picture.shape[0]), flags=cv2.INTER_LINEAR)
    alpha = moved[..., 3:].astype(np.float32) / 255
    picture[:] = (alpha * moved[..., :3] + (1 - alpha) * picture).astype(np.uint8)
    return _scaled(box, scale, left, top), moved[..., 3] > 128


def _visible(boxes: dict[str, Box], shown: dict[str, np.ndarray]) -> dict[str, Box]:
    """The faces that lie inside the picture and that people drawn later do not cover."""
    names, kept = list(boxes), {}
    for place, name in enumerate(names):
        box = boxes[name]
        area = box.width * box.height
        first, last = max(0, round(box.left)), min(WIDTH, round(box.left + box.width))
        upper, lower = max(0, round(box.top)), min(HEIGHT, round(box.top + box.height))
        if last <= first or lower <= upper:
            continue
        covered = np.zeros((lower - upper, last - first), bool)
        for other in names[place + 1 :]:
            covered |= shown[other][upper:lower, first:last]
        if (~covered).sum() >= _VISIBLE * area:
            kept[name] = box
    return kept


def _scaled(box: Box, scale: float, left: float, top: float) -> Box:
    return Box(scale * box.left + left, scale * box.top + top, scale * box.width, scale * box.height)


def _first_frame(file: Path) -> np.ndarray:
    return cv2.resize(next(read_video(file)).image_HWC, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


class _Writer:
    """Writes frames as H.264."""

    def __init__(self, file: Path) -> None:
        self._container = av.open(str(file), "w")
        self._stream = self._container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "veryfast"})
        self._stream.width, self._stream.height, self._stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        self._count = 0

    def write(self, image_HWC: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC), "rgb24")
        frame.pts, frame.time_base = self._count, Fraction(1, FPS)
        self._count += 1
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()
