"""Faces of labelled clips, extracted as this system did (spec section 2.3), ready for `dsn/face_list`.

    python -m blear_dsn.clips SOURCE OUT [--every N] [--no-align] [--device cpu]

SOURCE holds videos in folders called by an emotion, as AFEW does (`Val_AFEW/Happy/000046280.avi`). Each becomes a
folder of faces, `OUT/Val_AFEW/Happy/000046280/000046280-00001.png`, one for each frame that shows one, and a row of
the list `OUT/Val_AFEW.txt`: `<folder> <label 0..6>`, alphabetical; the list is `clips.txt` where the emotions are
SOURCE's own folders. A clip without a face has an empty folder. Running it again continues after the folders that are
there.

Faces have 256x256 pixels, turned and scaled by MTCNN's five points onto the template of `dsn/raf_db`; with --no-align
they are what the system hands to its own alignment, which is not published: 400x400, the box with its margin.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cv2
import numpy as np
from PIL import Image

from blear.errors import BlearError, DataError
from blear.video import read_video
from blear_dsn.align import align
from blear_dsn.face_crops import crop_face, display_size, select_face
from blear_emotions.labels import AFEW

if TYPE_CHECKING:
    from facenet_pytorch import MTCNN

SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".mpg")
ALIGNED = 256
"""Rows and columns of an aligned face."""

_BATCH = 8
_SHORTEST = 2  # emotion and clip


def videos(source: Path) -> list[tuple[Path, int]]:
    """The videos below a folder in the order of their paths, with the place of their folder's emotion.

    Raises:
        DataError: there is none, or a folder is not called by an emotion.
    """
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"holds no video ({', '.join(SUFFIXES)})", str(source), "give the folder of the clips")
    labelled = []
    for path in found:
        try:
            labelled.append((path, AFEW.index_of_word(path.parent.name)))
        except ValueError as error:
            do = "put each video into a folder called by its emotion, as AFEW does"
            raise DataError(str(error), str(path.parent), do) from error
    return labelled


def read_frames(video: Path, every: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """Number, from 1, and RGB uint8 [H, 1024, 3] of every `every`-th frame; H as the display aspect ratio asks for.

    Raises:
        DataError: as `blear.video.read_video`.
    """
    for frame in read_video(video, every):
        height, width = frame.image_HWC.shape[:2]
        size = display_size(width, height, frame.pixel_aspect)
        yield frame.number + 1, cv2.resize(frame.image_HWC, size, interpolation=cv2.INTER_CUBIC)


def extract(video: Path, folder: Path, locator: MTCNN, every: int = 1, *, aligned: bool = True) -> int:
    """Writes the faces of a video as pictures; the folder appears whole or not at all. Returns how many there are.

    Args:
        aligned: by five points, `ALIGNED` pixels; else the box with its margin, 400 pixels.

    Raises:
        DataError: as `read_frames`.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        frames, count = read_frames(video, every), 0
        while block := list(islice(frames, _BATCH)):
            boxes, _, points = locator.detect([Image.fromarray(frame) for _, frame in block], landmarks=True)
            for (number, frame), found, five in zip(block, boxes, points, strict=True):
                if found is not None:
                    boxes_N4 = np.asarray(found, dtype=np.float64)
                    kept = select_face(boxes_N4, *frame.shape[:2])
                    face = (
                        align(frame, np.asarray(five[kept], np.float64), ALIGNED)
                        if aligned
                        else crop_face(frame, boxes_N4[kept])
                    )
                    Image.fromarray(face).save(partial / f"{video.stem}-{number:05d}.png")
                    count += 1
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return count


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, help="Look at every N-th frame.")
@click.option("--align/--no-align", "aligned", default=True, show_default=True, help="Turn and scale by five points.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
def main(source: Path, out: Path, every: int, *, aligned: bool, device: str) -> None:
    """Writes the faces of each clip below SOURCE into OUT, and the lists that `dsn/face_list` reads."""
    from facenet_pytorch import MTCNN

    try:
        labelled = videos(source)
        locator = MTCNN(keep_all=True, device=device)
        lists: dict[str, list[str]] = {}
        for video, label in labelled:
            place = video.relative_to(source).with_suffix("")
            folder = out / place
            if folder.is_dir():
                count = len(list(folder.iterdir()))
            else:
                count = extract(video, folder, locator, every, aligned=aligned)
            click.echo(f"{place}: {count} faces")
            name = place.parts[0] if len(place.parts) > _SHORTEST else "clips"
            lists.setdefault(name, []).append(f"{place.as_posix()} {label}\n")
        for name, rows in lists.items():
            partial = out / f".{name}.txt.partial"
            partial.write_text("".join(rows))
            partial.replace(out / f"{name}.txt")
    except BlearError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
