"""AVEC 2016 MASC, a subset of RECOLA: faces of nine training and nine development videos, one per usable frame."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear.errors import DataError
from blear.imaging import Box, Framing, crop, resize_bicubic, studio_luma
from blear.video import read_video
from blear_vlqr.avec_files import nearest_rows, read_boxes, read_frame_times, read_gold_standard
from blear_vlqr.params import Avec2016Params

_VIDEO = "recordings_video"
_TIME = "recordings_video_frame_time"
_GOLD = "ratings_gold_standard"
_UNTIMED = 1.0  # seconds of labelled video that may follow the last frame time


class Avec2016:
    """Dataset of faces with the gold-standard labels at each frame's time. Splits: train (train_*) and dev (dev_*).

    A frame is used if its face box is wider and higher than `min_box` pixels. The luma inside the box, clipped to the
    frame, is resized to size x size pixels without keeping the aspect ratio. A part is one video. `meta.face_px` is the
    smaller side of the box in pixels. Test videos, which have no labels, and frames after the last frame time are left
    out.

    With `scene`, frames are larger: the part of the video frame around the face, resized with it. A codec can then
    encode the frame, and the face is cut from the decoded frame. With `frames`, samples are clips of consecutive usable
    frames; a rest that fills no clip is left out.

    Raises:
        DataError: a folder or file is missing or invalid, a frame has no box or no gold-standard row within the
            tolerance, a video ends before its frame times, the frame times end more than a second before video and
            labels, or a video has no usable face.
    """

    splits: Sequence[str] = ("train", "dev")
    terms = (
        "AVEC 2016 / RECOLA: academic research only, by signed agreement with the University of Fribourg; "
        "do not pass on faces or labels."
    )

    def __init__(self, params: Avec2016Params, context: BuildContext) -> None:
        self.params = params
        self.targets = tuple(Target(name, "value", bounds=(-1.0, 1.0)) for name in params.target)
        self.clip = ClipSpec(params.frames, 1, params.pixels, params.pixels)
        self.grey_range: Literal["full", "studio"] = "studio"
        alone = Framing("box", margin=0.0, unit="sides", inside=True)
        self.framing = alone if params.scene is None else None
        self._boxes = params.boxes or params.source / "bbox"
        self._require_folders()
        self._videos = {split: self._names(split) for split in self.splits}
        self._require_files()

    def parts(self, split: str) -> Sequence[str]:
        """Names of the videos in the order of their numbers."""
        return self._videos[split]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the usable frames of one video in order."""
        times = read_frame_times(self._file(_TIME, part))
        boxes = self._at(times, self._file("bbox", part), read_boxes(self._file("bbox", part)))[:, 1:]
        gold = {name: read_gold_standard(self._file(name, part)) for name in self.params.target}
        labels = {name: self._at(times, self._file(name, part), table)[:, 1] for name, table in gold.items()}
        sides = boxes[:, 2:].min(axis=1)
        if not ((sides > 0) & (sides > self.params.min_box)).any():
            raise DataError(
                f"no usable face in {part}: no box is wider and higher than {self.params.min_box:g} pixels "
                f"(largest: {sides.max():g})",
                str(self._file("bbox", part)),
                f"lower min_box, or locate the faces anew: python -m blear_faces.locate {self._file(_VIDEO, part)} "
                f"--out {self._file('bbox', part)}",
            )
        clip: list[tuple[int, np.ndarray]] = []
        for k, frame in enumerate(self._frames(part, times, max(table[:, 0].max() for table in gold.values()))):
            if sides[k] <= 0 or sides[k] <= self.params.min_box:
                clip = []
                continue
            clip.append((k, frame))
            if len(clip) < self.params.frames:
                continue
            first, middle = clip[0][0], clip[len(clip) // 2][0]
            box, where = boxes[first : k + 1].mean(axis=0), f"{self._file('bbox', part)} at {times[first]:g} s"
            yield Sample(
                key=f"{part}/{first:06d}",
                frames=np.stack([self._face(shown, box, where) for _, shown in clip])[..., None],
                targets={name: float(values[middle]) for name, values in labels.items()},
                subject=part,
                video=part,
                time=float(times[middle]),
                meta={"face_px": float(sides[first : k + 1].min())},
            )
            clip = []

    def _face(self, frame_HWC: np.ndarray, box: np.ndarray, where: str) -> np.ndarray:
        left, top, width, height = (float(n) for n in box)
        share = self.params.pixels / self.params.size
        seen = Box(left - 1, top - 1, width, height).grown((share - 1) / 2)  # pixels count from 1 in the file
        try:
            face_HWC = crop(frame_HWC, seen, pad="clip" if self.params.scene is None else "black")
        except ValueError as error:
            raise DataError(str(error), where, "locate the faces in this very video, in its own pixels") from error
        luma = studio_luma(face_HWC).astype(np.float32) / 255
        mirrored = self.params.interpolation == "matlab"
        face = resize_bicubic(luma, self.params.pixels, self.params.pixels, mirrored=mirrored)
        return face if self.params.precision == "float" else np.rint(face.clip(0, 1) * 255).astype(np.uint8)

    def _frames(self, part: str, times: np.ndarray, labelled_until: float) -> Iterator[np.ndarray]:
        """Yields the frames of a video that have a time, uint8 RGB [H, W, 3].

        Args:
            labelled_until: time of the last label in seconds.
        """
        path = self._file(_VIDEO, part)
        frames, read = read_video(path, damaged="refuse"), 0  # a missing frame would shift the frame times
        for frame in islice(frames, len(times)):
            yield frame.image_HWC
            read += 1
        if read < len(times):
            raise DataError(
                f"the video ends after {read} frames, but its frame times are {len(times)}",
                str(path),
                "replace the video by an intact copy, or use the frame times that belong to it",
            )
        if labelled_until - times[-1] > _UNTIMED and next(frames, None) is not None:
            raise DataError(
                f"the last frame time is {times[-1]:g} s, but frames and labels (until {labelled_until:g} s) go on",
                str(self._file(_TIME, part)),
                "the file is cut off: restore the original file",
            )

    def _at(self, times: np.ndarray, path: Path, table: np.ndarray) -> np.ndarray:
        """Returns the row of `table` (column 0: time) nearest to each frame time; every frame must have one."""
        rows = nearest_rows(table[:, 0], times, self.params.tolerance)
        if (rows < 0).any():
            frame = int(np.argmax(rows < 0))
            raise DataError(
                f"no row within {self.params.tolerance:g} s of frame {frame + 1} at {times[frame]:g} s "
                f"({int((rows < 0).sum())} of {len(rows)} frames have none)",
                str(path),
                "complete the file, one row for each video frame, or raise time_tolerance",
            )
        return table[rows]

    def _file(self, kind: str, name: str) -> Path:
        source = self.params.source
        if kind == _VIDEO:
            return source / _VIDEO / f"{name}.mp4"
        if kind == _TIME:
            return source / _TIME / f"{name}.csv"
        return self._boxes / f"{name}.csv" if kind == "bbox" else source / _GOLD / kind / f"{name}.arff"

    def _require_folders(self) -> None:
        source = self.params.source
        for folder in (
            source,
            source / _VIDEO,
            source / _TIME,
            *(source / _GOLD / name for name in self.params.target),
        ):
            if not folder.is_dir():
                raise DataError("no such folder", str(folder), "give the folder of AVEC 2016 as received as `source`")
        if not self._boxes.is_dir():
            raise DataError(
                "no such folder of face boxes",
                str(self._boxes),
                f"make one csv for each video: python -m blear_faces.locate {source / _VIDEO / 'NAME.mp4'} "
                f"--out {self._boxes / 'NAME.csv'}",
            )

    def _names(self, split: str) -> tuple[str, ...]:
        kinds = (_VIDEO, _TIME, "bbox", *self.params.target)
        files = (path for kind in kinds for path in self._file(kind, "x").parent.glob(f"{split}_*"))
        names = {path.stem for path in files if re.fullmatch(r"[A-Za-z0-9_-]+\.(mp4|csv|arff)", path.name)}
        if not names:
            raise DataError(
                f"the split {split} is empty", str(self.params.source / _VIDEO), f"add {split}_1.mp4 and on"
            )
        return tuple(sorted(names, key=lambda name: (len(name), name)))

    def _require_files(self) -> None:
        kinds = (_VIDEO, _TIME, "bbox", *self.params.target)
        wanted = (self._file(kind, name) for names in self._videos.values() for name in names for kind in kinds)
        missing = [str(path) for path in wanted if not path.is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} files are missing: {', '.join(missing[:8])}{', ...' if len(missing) > 8 else ''}",
                str(self.params.source),
                "each video needs its mp4, frame times, boxes (python -m blear_faces.locate) and arff files",
            )
