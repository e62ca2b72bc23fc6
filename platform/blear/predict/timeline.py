"""The timeline of a video: what each face shows, frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from blear.errors import DataError, RunError
from blear.predict.faces import Finder
from blear.predict.model import FaceModel, Framing
from blear.predict.records import Format, Record
from blear.predict.tracks import Face, Identities
from blear.predict.video import Moment, moments
from blear.storage.run_folder import write_text

MOMENTS_AT_ONCE = 16


@dataclass
class Census:
    """What was looked at: frames, those with a face, faces that no track claims, and records of each class."""

    frames: int = 0
    with_face: int = 0
    unclaimed: int = 0
    classes: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """One line."""
        counts = ", ".join(f"{count} {name}" for name, count in self.classes.most_common())
        line = f"{self.classes.total()} records ({counts}); {self.with_face} of {self.frames} frames with a face"
        return f"{line}; {self.unclaimed} faces in no track, left out" if self.unclaimed else line


@dataclass(frozen=True)
class Reader:
    """Finds, follows and recognises the faces of a video.

    Attributes:
        every: look at every so many-th frame, from the first.
        static: show the network the frame itself instead of the frames before it.
    """

    model: FaceModel
    finder: Finder
    identities: Identities
    framing: Framing
    every: int = 5
    static: bool = False

    def read(self, video: Path, census: Census) -> Iterator[Record]:
        """The records in order of time, of one frame by place; `census` is kept up to date.

        Raises:
            DataError: the video cannot be decoded, no frame shows a face, or a box lies outside its frame.
        """
        looked = moments(video, self.every, self.model.clip.length, self.static)
        while block := list(islice(looked, MOMENTS_AT_ONCE)):
            seen = []
            for moment, boxes in zip(block, self.finder(block), strict=True):
                faces = self.identities(moment.frame, boxes)
                census.frames += 1
                census.with_face += bool(faces)
                census.unclaimed += len(boxes) - len(faces)
                seen.append((moment, faces))
            for record in self._recognised(video, seen):
                census.classes[record.winner] += 1
                yield record
        if not census.with_face:
            do = "give a video that shows a face from the front, or other --boxes or --tracks"
            raise DataError(f"no face in any of {census.frames} frames", str(video), do)

    def _recognised(self, video: Path, seen: Iterable[tuple[Moment, list[Face]]]) -> Iterator[Record]:
        places = [(moment, place, face) for moment, faces in seen for place, face in enumerate(faces)]
        if not places:
            return
        clips = [
            self.model.clip_of(moment, face.box, self.framing, f"{video}, frame {moment.frame}")
            for moment, _, face in places
        ]
        classes, probabilities_NK = self.model(clips)
        for (moment, place, face), probabilities_K in zip(places, probabilities_NK.tolist(), strict=True):
            shares = dict(zip(classes, probabilities_K, strict=True))
            yield Record(moment.frame, moment.seconds, face, place, shares)


def write_timeline(reader: Reader, video: Path, out: Path, form: Format, aliases: Mapping[str, str]) -> Census:
    """Writes the records of a video, one a line; the file appears whole or not at all.

    Args:
        aliases: class -> the name that is written instead.

    Raises:
        RunError: an alias for a class that the model does not have.
        DataError: as `Reader.read`.
    """
    census, lines = Census(), []
    for record in reader.read(video, census):
        unknown = [name for name in aliases if name not in record.probabilities]
        if unknown:
            do = f"its classes are: {', '.join(record.probabilities)}"
            raise RunError(f"the model has no class {unknown[0]!r} to rename", "--alias", do)
        lines.append(record.as_line(form, aliases))
    write_text(out, "".join(f"{line}\n" for line in lines))
    return census
