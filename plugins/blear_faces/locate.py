"""Finds faces with MTCNN (Zhang, Zhang, Li, Qiao 2016; weights come with facenet-pytorch) in frames and in videos.

    python -m blear_faces.locate VIDEO [--out boxes.csv] [--every N]

writes one row `time,left,top,width,height` for each frame read: time in seconds, pixels of the frame, `left` and `top`
1-based (a box in the frame's corner has 1, 1), all zeros where there is no face. `blear_vlqr` reads this file.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click
import numpy as np

from blear.errors import BlearError, DataError
from blear.imaging import Box
from blear.video import read_video

COLUMNS = "time,left,top,width,height"
BATCH = 16


@dataclass(frozen=True)
class Face:
    """One face: its box (0-based pixels), how sure the locator is in [0, 1], and five points.

    `points_52` is float32 [5, 2] as (x, y): left eye, right eye, nose tip, left and right mouth corner, as seen.
    """

    box: Box
    probability: float
    points_52: np.ndarray


class FaceLocator:
    """MTCNN on batches of frames of one size.

    Args:
        device: "cpu", "cuda", ...; "auto" takes the GPU where there is one.
        min_probability: faces below are dropped.
        max_side: larger frames are shrunk to this longer side for the search; boxes are in the frames' own pixels.
        min_face: smallest face looked for, in pixels of the (shrunk) frame.
    """

    def __init__(
        self, device: str = "auto", min_probability: float = 0.9, max_side: int = 640, min_face: int = 20
    ) -> None:
        import torch
        from facenet_pytorch import MTCNN

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.min_probability, self.max_side = min_probability, max_side
        self._mtcnn = MTCNN(keep_all=True, min_face_size=min_face, device=torch.device(device))

    def faces(self, frames_THWC: np.ndarray) -> list[list[Face]]:
        """All faces of each RGB uint8 frame, the largest first.

        Raises:
            ValueError: not uint8 [T, H, W, 3].
        """
        if frames_THWC.ndim != 4 or frames_THWC.shape[3] != 3 or frames_THWC.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 [T, H, W, 3], got {frames_THWC.dtype} {list(frames_THWC.shape)}")
        if not len(frames_THWC):
            return []
        small_THWC, ratio = self._shrunk(frames_THWC)
        boxes, probabilities, points = self._mtcnn.detect(small_THWC, landmarks=True)
        return [self._sorted(*found, ratio=ratio) for found in zip(boxes, probabilities, points, strict=True)]

    def locate(self, frames_THWC: np.ndarray) -> list[Face | None]:
        """The largest face of each RGB uint8 frame, or None; raises as `faces`."""
        return [found[0] if found else None for found in self.faces(frames_THWC)]

    def _shrunk(self, frames_THWC: np.ndarray) -> tuple[np.ndarray, float]:
        import cv2

        height, width = frames_THWC.shape[1:3]
        ratio = max(1.0, max(height, width) / self.max_side)
        if ratio == 1.0:
            return frames_THWC, ratio
        size = (round(width / ratio), round(height / ratio))
        return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames_THWC]), ratio

    def _sorted(
        self, boxes: np.ndarray | None, probabilities: np.ndarray, points: np.ndarray | None, ratio: float
    ) -> list[Face]:
        if boxes is None or points is None:
            return []
        found = []
        for (left, top, right, bottom), probability, five in zip(boxes, probabilities, points, strict=True):
            if probability >= self.min_probability:
                sides = (left * ratio, top * ratio, (right - left) * ratio, (bottom - top) * ratio)
                box = Box(*(float(side) for side in sides))
                found.append(Face(box, float(probability), np.asarray(five, dtype=np.float32) * ratio))
        return sorted(found, key=lambda face: -face.box.width * face.box.height)


def locate_video(video: Path, locator: FaceLocator, every: int = 1) -> np.ndarray:
    """Float64 [N, 5]: time, left, top, width, height of the largest face in each frame read (see the module's text).

    Raises:
        DataError: as `blear.video.read_video`, or no frame shows a face.
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


def write_boxes(table: np.ndarray, out: Path) -> None:
    """Writes the rows of `locate_video` as csv; the file appears whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(partial, table, fmt=["%.6f"] + ["%.2f"] * 4, delimiter=",", header=COLUMNS, comments="")
        partial.replace(out)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", str(out), "choose another --out") from error
    finally:
        with contextlib.suppress(OSError):  # as when its folder is a file
            partial.unlink()


@click.command()
@click.argument("video", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The csv to write; default: VIDEO with the ending .csv.")
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, help="Look at every N-th frame.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
def main(video: Path, out: Path | None, every: int, device: str) -> None:
    """Writes the largest face of each frame of VIDEO: time,left,top,width,height (1-based pixels; zeros: no face)."""
    out = out or video.with_suffix(".csv")
    try:
        table = locate_video(video, FaceLocator(device), every)
        write_boxes(table, out)
    except BlearError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    click.echo(f"{out}: {len(table)} frames, {int((table[:, 3] > 0).sum())} with a face")


if __name__ == "__main__":
    main()
