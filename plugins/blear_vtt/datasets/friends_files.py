"""Reads the annotations of VTT Friends, `s01_epNN_tag2_visual_Final_180809.json` (spec section 2.3)."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blear.errors import DataError
from blear.imaging import Box
from blear_vtt.datasets.annotations import parse_box, parse_emotion, require_key, require_list, require_object

_FILE = re.compile(r"s\d+_ep(\d+)_tag2_visual_.*\.json", re.IGNORECASE)
_KEY_FRAME = re.compile(r"(?:Fr.*_|[A-Za-z])(\d+)\.[A-Za-z]+")


@dataclass(frozen=True)
class LabelledFace:
    """One labelled face in a key frame.

    Attributes:
        emotion: class index in `labels.VTT`.
        frame: number of the key frame in the episode, from 0.
        where: file, period and character, for messages.
    """

    episode: int
    period: int
    character: str
    frame: int
    emotion: int
    box: Box
    where: str


def list_episodes(source: Path) -> dict[int, Path]:
    """Finds the annotation files in a folder. Returns episode number -> file.

    Raises:
        DataError: no file, or two files of one episode.
    """
    if not source.is_dir():
        raise DataError("no such folder", str(source), "give the folder of the annotations as `source`")
    found: dict[int, Path] = {}
    for file in sorted(source.glob("*.json")):
        if match := _FILE.fullmatch(file.name):
            number = int(match[1])
            if number in found:
                raise DataError(f"episode {number} is in {found[number].name} already", str(file), "remove one of them")
            found[number] = file
    if not found:
        do = "give the folder of the files s01_epNN_tag2_visual_Final_180809.json"
        raise DataError("holds no annotations", str(source), do)
    return found


def read_episode(file: Path, episode: int) -> tuple[list[LabelledFace], Counter[str]]:
    """Reads the labelled faces of an episode in order, and the number of excluded faces by cause.

    A face is excluded if its emotion or its box is `none`, or if the box is empty or inverted.

    Raises:
        DataError: the file is not JSON, or does not have this form.
    """
    try:
        periods = json.loads(file.read_text(encoding="utf-8-sig"))["visual_results"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        do = "use the file as released: an object whose visual_results is a list"
        raise DataError(f"cannot be read: {type(error).__name__}: {error}", str(file), do) from error
    faces: list[LabelledFace] = []
    lost: Counter[str] = Counter()
    for place, period in enumerate(require_list(periods, "visual_results", str(file))):
        where = f"{file}, visual_results[{place}]"
        number, frame = _period(period, where)
        for people in require_list(require_key(period, "person", where), "person", where)[:1]:
            for character, entries in require_object(people, "person[0]", where).items():
                face = f"{where}, {character}"
                entry = require_list(entries, "the character's entry", face)
                if not entry:
                    lost["no entry"] += 1
                    continue
                emotion, box = parse_emotion(entry[0], face), parse_box(entry[0], face)
                if emotion is None:
                    lost["emotion none"] += 1
                elif isinstance(box, str):
                    lost[box] += 1
                else:
                    faces.append(LabelledFace(episode, number, character, frame, emotion, box, face))
    return faces, lost


def _period(period: Any, where: str) -> tuple[int, int]:
    """Returns the number of a period and the number of its key frame."""
    number, image = require_key(period, "period_num", where), str(require_key(period, "image", where))
    if not str(number).strip().isdecimal():
        raise DataError(f"period_num {number!r} is not a whole number", where, "use the file as released")
    match = _KEY_FRAME.fullmatch(image.strip())
    if match is None:
        do = "it must be like Fr_ep01_000123.jpg or f000123.jpg"
        raise DataError(f"image {image!r} names no frame", where, do)
    return int(number), int(match[1])
