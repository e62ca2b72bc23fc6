"""Extracts the faces of clips for `dsn/face_list` and `blear predict`, with the steps of the DSN system.

    python -m blear_dsn.clips SOURCE OUT [--every N] [--no-align] [--device cpu]

SOURCE contains videos in folders named after emotions, as in AFEW: `Val_AFEW/Happy/000046280.avi`. Each video becomes
a folder with one picture for each frame with a face, `OUT/Val_AFEW/Happy/000046280/000046280-00001.png`, and a row
`<folder> <label 0..6>` of the list `OUT/Val_AFEW.txt`, in alphabetical class order. A clip without a face has an empty
folder. A second run skips existing folders.

Clips without labels are the videos of `Test/`, and those that lie in SOURCE itself. Their rows are `<folder>`.

Lists are called as the jobs expect: Train_AFEW.txt (folders Train_AFEW, Train_AFEW_all, Train), Val_AFEW.txt (Val_AFEW,
Val), Test_AFEW.txt (Test_AFEW, Test), also if SOURCE itself is such a folder; other folders give their name, and
SOURCE of another name gives clips.txt.

Faces have 256x256 pixels and are aligned by MTCNN's five landmarks to the template of `dsn/raf_db`. With --no-align
they have 400x400 pixels and are the box with its margin: the input of the authors' alignment, which is not published.
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

from blear.clips import VIDEO_ENDINGS
from blear.contracts import default_device
from blear.errors import BlearError, DataError
from blear.folders import files_below
from blear.imaging import picture_files
from blear.video import read_video
from blear_dsn.align import align
from blear_dsn.face_crops import crop_face, display_size, select_face
from blear_emotions.labels import AFEW

if TYPE_CHECKING:
    from facenet_pytorch import MTCNN

SUFFIXES = tuple(f".{ending}" for ending in VIDEO_ENDINGS)
ALIGNED = 256
"""Height and width of an aligned face in pixels."""

LISTS = {"Train_AFEW_all": "Train_AFEW", "Train": "Train_AFEW", "Val": "Val_AFEW", "Test": "Test_AFEW"}
"""Folder of a split -> name of its list, where they differ."""

_BATCH = 8
_SPLITS = {*LISTS, *LISTS.values()}


def videos(source: Path) -> list[tuple[Path, int | None]]:
    """Finds the videos below a folder, without hidden files.

    Returns:
        (path, class index of the emotion that names the folder), sorted by path. The index is None for a video in the
        folder of a split or in `source` itself: it has no label.

    Raises:
        DataError: there is no video, a folder cannot be read, or its name is not an emotion.
    """
    found = sorted(path for path in files_below(source) if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"holds no video ({', '.join(SUFFIXES)})", str(source), "give the folder of the clips")
    labelled: list[tuple[Path, int | None]] = []
    for path in found:
        try:
            labelled.append((path, AFEW.index_of_word(path.parent.name)))
        except ValueError as error:
            if path.parent == source or path.parent.name in _SPLITS:
                labelled.append((path, None))
                continue
            do = "put each video into a folder called by its emotion, as AFEW does"
            raise DataError(str(error), str(path.parent), do) from error
    return labelled


def list_name(source: Path, video: Path) -> str:
    """Name of the list of a video, without suffix: the folder below `source` that is neither its emotion nor itself."""
    folders = video.relative_to(source).parts[:-1]
    name = folders[0] if folders and (len(folders) > 1 or folders[0] in _SPLITS) else source.absolute().name
    known = LISTS.get(name, name)
    return known if folders[:1] == (name,) or known in _SPLITS else "clips"


def read_frames(video: Path, every: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """Yields number (from 1) and pixels of every `every`-th frame, RGB uint8 [H, 1024, 3] in the display aspect ratio.

    Raises:
        DataError: as `blear.video.read_video`.
    """
    for frame in read_video(video, every, damaged="skip", square_pixels=False):
        height, width = frame.image_HWC.shape[:2]
        size = display_size(width, height, frame.pixel_aspect)
        yield frame.number + 1, cv2.resize(frame.image_HWC, size, interpolation=cv2.INTER_CUBIC)


def extract(video: Path, folder: Path, locator: MTCNN, every: int = 1, *, aligned: bool = True) -> int:
    """Writes the faces of a video as pictures into a folder, which is created atomically. Returns their number.

    Args:
        video: the video file.
        folder: folder of the pictures.
        locator: the face detector.
        every: use every N-th frame.
        aligned: whether faces are aligned (`ALIGNED` pixels) or cropped with a margin (400 pixels).

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
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, help="Use every N-th frame.")
@click.option("--align/--no-align", "aligned", default=True, show_default=True, help="Align faces by five landmarks.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
def main(source: Path, out: Path, every: int, *, aligned: bool, device: str) -> None:
    """Writes the faces of each clip below SOURCE into OUT, and lists of the clips."""
    from facenet_pytorch import MTCNN

    try:
        if device != "cpu" and (not device.startswith("cuda") or default_device() != "cuda"):
            raise DataError("torch has no such device", f"--device {device}", "give cpu")
        labelled = videos(source)
        locator = MTCNN(keep_all=True, device=device)
        lists: dict[str, list[str]] = {}
        for video, label in labelled:
            place = video.relative_to(source).with_suffix("")
            folder = out / place
            if folder.is_dir():
                count = len(picture_files(folder))
            else:
                count = extract(video, folder, locator, every, aligned=aligned)
            click.echo(f"{place}: {count} faces")
            row = place.as_posix() if label is None else f"{place.as_posix()} {label}"
            lists.setdefault(list_name(source, video), []).append(f"{row}\n")
        for name, rows in lists.items():
            partial = out / f".{name}.txt.partial"
            partial.write_text("".join(rows))
            partial.replace(out / f"{name}.txt")
    except (BlearError, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
