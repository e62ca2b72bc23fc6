"""The timeline of a video: the class probabilities of each face, frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from blear.errors import DataError, RunError
from blear.imaging import Framing
from blear.predict.detectors import Detector
from blear.predict.model import FaceModel
from blear.predict.records import Format, Record
from blear.predict.trackers import FaceTracker, TrackedFace
from blear.predict.video import FrameWindow, frame_windows
from blear.storage.run_folder import write_text

BATCH = 16
"""Frames that are detected and recognised in one batch."""


@dataclass
class TimelineCounts:
    """Counts over a timeline.

    Attributes:
        frames: frames that were read.
        with_face: frames with at least one tracked face.
        untracked: detected faces that belong to no track; they are dropped.
        classes: records of each class.
    """

    frames: int = 0
    with_face: int = 0
    untracked: int = 0
    classes: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """One line for the terminal."""
        counts = ", ".join(f"{count} {name}" for name, count in self.classes.most_common())
        line = f"{self.classes.total()} records ({counts}); {self.with_face} of {self.frames} frames with a face"
        return f"{line}; {self.untracked} faces in no track, left out" if self.untracked else line


@dataclass(frozen=True)
class VideoRecognizer:
    """Detects, tracks and recognises the faces of a video.

    Attributes:
        framing: how faces are cut out of the frames.
        every: stride between the frames that are read, from the first frame.
        static: give the network copies of the frame itself instead of the frames before it.
    """

    model: FaceModel
    detector: Detector
    tracker: FaceTracker
    framing: Framing
    every: int = 5
    static: bool = False

    def records(self, video: Path, counts: TimelineCounts) -> Iterator[Record]:
        """Yields the records of a video, ordered by time and by the index of the face; updates `counts` in place.

        Raises:
            DataError: the video cannot be decoded, no frame has a face, or a box lies outside its frame.
        """
        windows = frame_windows(video, self.every, self.model.clip.length, self.static)
        while batch := list(islice(windows, BATCH)):
            tracked = []
            for window, detected in zip(batch, self.detector(batch), strict=True):
                faces = self.tracker(window, detected)
                counts.frames += 1
                counts.with_face += bool(faces)
                counts.untracked += len(detected) - len(faces)
                tracked.append((window, faces))
            for record in self._recognise(video, tracked):
                counts.classes[record.top_class] += 1
                yield record
        if not counts.with_face:
            do = "give a video that shows a face from the front, or other --boxes or --tracks"
            raise DataError(f"no face in any of {counts.frames} frames", str(video), do)

    def _recognise(self, video: Path, tracked: Sequence[tuple[FrameWindow, list[TrackedFace]]]) -> Iterator[Record]:
        """The records of a batch of frames; all faces go through the network together."""
        faces = [(window, index, face) for window, of_frame in tracked for index, face in enumerate(of_frame)]
        if not faces:
            return
        clips = [
            self.model.crop_clip(window, face.box, self.framing, f"{video}, frame {window.frame}")
            for window, _, face in faces
        ]
        classes, probabilities_NK = self.model(clips)
        for (window, index, face), probabilities_K in zip(faces, probabilities_NK.tolist(), strict=True):
            by_class = dict(zip(classes, probabilities_K, strict=True))
            yield Record(window.frame, window.seconds, face, index, by_class)


def write_timeline(
    recognizer: VideoRecognizer, video: Path, out: Path, form: Format, aliases: Mapping[str, str]
) -> TimelineCounts:
    """Writes the records of a video to a file, one a line. An error leaves no partial file.

    Args:
        out: the file to write.
        aliases: class -> name to write in its place.

    Raises:
        RunError: an alias names a class that the model does not have.
        DataError: see `VideoRecognizer.records`.
    """
    counts, lines = TimelineCounts(), []
    for record in recognizer.records(video, counts):
        unknown = [name for name in aliases if name not in record.probabilities]
        if unknown:
            do = f"its classes are: {', '.join(record.probabilities)}"
            raise RunError(f"the model has no class {unknown[0]!r} to rename", "--alias", do)
        lines.append(record.to_json(form, aliases))
    write_text(out, "".join(f"{line}\n" for line in lines))
    return counts
