"""What all networks share: frames are resized for the smallest face, batched by pixels, and split into tiles."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from blear.imaging import Box
from blear_faces.face import BatchLocator, Face
from blear_faces.locator_params import LocatorParams

_OVERLAP = 0.4  # of two detections of one face, in tiles or in one picture
_SHARED = 0.25  # of the side of a tile


@dataclass(frozen=True)
class Detections:
    """Faces of one picture.

    Attributes:
        boxes_N4: left, top, right, bottom in pixels, float32.
        scores_N: probabilities, float32.
        points_N52: five landmarks (x, y), float32, in the order of `Face.points_52`.
    """

    boxes_N4: np.ndarray
    scores_N: np.ndarray
    points_N52: np.ndarray

    def select(self, kept: np.ndarray) -> Detections:
        """The detections of an index or a mask."""
        return Detections(self.boxes_N4[kept], self.scores_N[kept], self.points_N52[kept])

    def moved(self, left: float, top: float, scale: float) -> Detections:
        """Divides all positions by `scale`, and then adds `left` and `top`."""
        offset = np.array([left, top], np.float32)
        boxes_N22 = self.boxes_N4.reshape(-1, 2, 2) / scale + offset
        return Detections(boxes_N22.reshape(-1, 4), self.scores_N, self.points_N52 / scale + offset)

    def distinct(self, overlap: float = _OVERLAP) -> Detections:
        """Leaves out detections that overlap a more probable one (non-maximum suppression)."""
        sides_N4 = np.concatenate([self.boxes_N4[:, :2], self.boxes_N4[:, 2:] - self.boxes_N4[:, :2]], axis=1)
        kept = cv2.dnn.NMSBoxes(sides_N4.tolist(), self.scores_N.tolist(), 0.0, overlap)
        return self.select(np.asarray(kept, np.int64))

    def faces(self) -> list[Face]:
        """The detections as faces."""
        rows = zip(self.boxes_N4.tolist(), self.scores_N.tolist(), self.points_N52, strict=True)
        return [
            Face(Box(left, top, right - left, bottom - top), score, points.copy())
            for (left, top, right, bottom), score, points in rows
        ]


def join(detections: Sequence[Detections]) -> Detections:
    """All detections in one."""
    return Detections(
        np.concatenate([one.boxes_N4 for one in detections]),
        np.concatenate([one.scores_N for one in detections]),
        np.concatenate([one.points_N52 for one in detections]),
    )


class ScaledLocator(BatchLocator):
    """A network that finds faces from a certain size on.

    Frames are resized so that the smallest face that is asked for has this size. Resized frames with more than
    `batch_pixels` are split into overlapping tiles; faces that no tile holds as a whole are found in a copy of the
    frame of the size of a tile.

    Args:
        params: see `LocatorParams`.
        network_face: side in pixels of the smallest face that the network finds reliably.
    """

    def __init__(self, params: LocatorParams, network_face: float) -> None:
        self.params, self.network_face = params, network_face

    @abstractmethod
    def _detect_images(self, images_NHWC: np.ndarray) -> list[Detections]:
        """Detects the faces of N >= 1 pictures, RGB uint8, in pixels of these pictures."""

    def scale(self, height: int, width: int) -> float:
        """Resized side divided by original side, for frames of `height` x `width` pixels."""
        return min(self.network_face / self.params.min_face, self.params.max_side / max(height, width))

    def _detect(self, frames_THWC: np.ndarray) -> Iterator[list[Face]]:
        height, width = frames_THWC.shape[1:3]
        scale = self.scale(height, width)
        pixels, most = scale * scale * height * width, self.params.batch_pixels
        tile = self.params.tile or max(256, int(most**0.5))
        if max(height, width) * scale > tile and (self.params.tile or pixels > most):
            for frame_HWC in frames_THWC:
                yield self._in_tiles(frame_HWC, scale, tile).faces()
            return
        size = max(1, int(most / max(1.0, pixels)))
        for first in range(0, len(frames_THWC), size):
            for found in self._resized(frames_THWC[first : first + size], scale):
                yield found.faces()

    def _resized(self, frames_THWC: np.ndarray, scale: float) -> list[Detections]:
        height, width = (max(1, round(side * scale)) for side in frames_THWC.shape[1:3])
        if (height, width) != frames_THWC.shape[1:3]:
            interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            frames_THWC = np.stack([cv2.resize(f, (width, height), interpolation=interpolation) for f in frames_THWC])
        return [found.moved(0, 0, scale) for found in self._detect_images(frames_THWC)]

    def _in_tiles(self, frame_HWC: np.ndarray, scale: float, tile: int) -> Detections:
        height, width = frame_HWC.shape[:2]
        (whole,) = self._resized(frame_HWC[None], tile / max(height, width))
        found, side = [whole], tile / scale
        for top in _starts(height, side):
            for left in _starts(width, side):
                part = frame_HWC[top : top + round(side), left : left + round(side)]
                (of_tile,) = self._resized(part[None], scale)
                found.append(_uncut(of_tile, part.shape, left, top, frame_HWC.shape, side).moved(left, top, 1))
        return join(found).distinct()


def _starts(length: int, side: float) -> list[int]:
    """First pixels of the tiles along one axis, evenly spaced, so that neighbours share `_SHARED` of a tile."""
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side * (1 - _SHARED)))) + 1
    return [round(start) for start in np.linspace(0, length - round(side), count)]


def _uncut(
    found: Detections, part: tuple[int, ...], left: int, top: int, frame: tuple[int, ...], side: float
) -> Detections:
    """The faces that neither touch a border inside the frame nor are too large to be whole in one of two tiles."""
    low_N2, high_N2 = found.boxes_N4[:, :2], found.boxes_N4[:, 2:]
    inner_low = np.where([left > 0, top > 0], 1.0, -np.inf)
    ends = np.array([part[1], part[0]])
    inner_high = np.where([left + part[1] < frame[1], top + part[0] < frame[0]], ends - 1.0, np.inf)
    whole_N = ((low_N2 > inner_low) & (high_N2 < inner_high)).all(axis=1)
    small_N = (high_N2 - low_N2).max(axis=1, initial=0) <= _SHARED * side
    return found.select(whole_N & small_N)
