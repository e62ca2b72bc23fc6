"""Detects the largest face of each frame of a video with MTCNN. The command

    python -m blear_faces.locate VIDEO [--out boxes.csv] [--every N]

writes a csv with one row `time,left,top,width,height` for each frame that it reads: the largest face, time in seconds,
box in pixels of the frame. `left` and `top` are 1-based: the upper left pixel is 1, 1. A frame without a face has
zeros. `blear_vlqr` and `blear timeline --boxes` read this file.
"""

from __future__ import annotations

import contextlib
import sys
from itertools import islice
from pathlib import Path

import click
import numpy as np

from blear.errors import BlearError, DataError
from blear.imaging import Box
from blear.video import read_video
from blear_faces.locator_params import MtcnnParams
from blear_faces.mtcnn import MtcnnLocator

COLUMNS = "time,left,top,width,height"
BATCH = 16


class FaceLocator(MtcnnLocator):
    """MTCNN with a working size in pixels of the shrunk frame, as the published systems used it.

    Args:
        device: torch device; "auto": the GPU where there is one, else the CPU.
        min_probability: smallest probability of a detection.
        max_side: larger frames are shrunk to this longer side before detection. Boxes are always in pixels of the
            original frame.
        min_face: smallest side of a face in pixels of the (shrunk) frame.
    """

    def __init__(
        self, device: str = "auto", min_probability: float = 0.9, max_side: int = 640, min_face: int = 20
    ) -> None:
        super().__init__(MtcnnParams(device=device, min_probability=min_probability), min_face)
        self.max_side = max_side

    def scale(self, height: int, width: int) -> float:
        """Resized side divided by original side, at most 1, for frames of `height` x `width` pixels."""
        return min(1.0, self.max_side / max(height, width))


def locate_video(video: Path, locator: FaceLocator, every: int = 1) -> np.ndarray:
    """Detects the largest face in every `every`-th frame of a video.

    Returns:
        Float64 [N, 5]: time, left, top, width, height of each frame, as in the csv of this module's command.

    Raises:
        DataError: the video cannot be read (see `blear.video.read_video`), or no frame shows a face.
    """
    rows: list[tuple[float, ...]] = []
    frames = read_video(video, every)
    while block := list(islice(frames, BATCH)):
        frames_THWC = np.stack([frame.image_HWC for frame in block])
        for frame, face in zip(block, locator.locate(frames_THWC), strict=True):
            box = Box(-1, -1, 0, 0) if face is None else face.box
            rows.append((frame.seconds, box.left + 1, box.top + 1, box.width, box.height))
    table = np.array(rows)
    if not table[:, 3].any():
        what = f"no face in any of {len(rows)} frames"
        raise DataError(what, str(video), "give a video that shows a face from the front")
    return table


def check_boxes_file(out: Path) -> None:
    """Checks that a file may be written: `VIDEO.csv` is often the name of the video's labels.

    Raises:
        DataError: there is a file of this name that is no table of boxes.
    """
    if out.is_file():
        with out.open("rb") as file:
            first = file.readline(len(COLUMNS) + 2)
        if first.strip() != COLUMNS.encode():
            raise DataError("is a file that is no table of boxes", str(out), "choose another --out")


def write_boxes(table: np.ndarray, out: Path) -> None:
    """Writes the rows of `locate_video` as csv, to a temporary file that is renamed at the end.

    Raises:
        DataError: the file cannot be written, or see `check_boxes_file`.
    """
    check_boxes_file(out)
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(partial, table, fmt=["%.6f"] + ["%.2f"] * 4, delimiter=",", header=COLUMNS, comments="")
        partial.replace(out)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", str(out), "choose another --out") from error
    finally:
        with contextlib.suppress(OSError):  # for instance where the folder is a file
            partial.unlink()


@click.command()
@click.argument("video", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The csv to write; default: VIDEO with the suffix .csv.")
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, help="Read every N-th frame.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
def main(video: Path, out: Path | None, every: int, device: str) -> None:
    """Writes the largest face of each frame of VIDEO: time,left,top,width,height (1-based pixels; zeros: no face)."""
    out = out or video.with_suffix(".csv")
    try:
        check_boxes_file(out)
        table = locate_video(video, FaceLocator(device), every)
        write_boxes(table, out)
    except (BlearError, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    click.echo(f"{out}: {len(table)} frames, {int((table[:, 3] > 0).sum())} with a face")


if __name__ == "__main__":
    main()
