"""Emotion labels of all datasets: classes in each dataset's own order and numbering, and mappings between them.

FER2013's csv, its folder mirror, AFEW, RAF-DB, AffectNet and CK+ number the same emotions differently. `mapping`
therefore matches classes by their canonical names, never by their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

CANONICAL = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")
"""Canonical names of the emotions. The first seven are in the order of FER2013 and of VTT's output."""

_SYNONYMS = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}
_NO_EMOTION = ("none", "uncertain", "no-face", "unknown", "nf")


def canonical(word: str) -> str | None:
    """Returns the canonical name of an emotion word (case-insensitive); None for `none`, `uncertain` and similar words.

    Raises:
        ValueError: the word is unknown.
    """
    name = word.strip().lower()
    if name in _NO_EMOTION:
        return None
    name = _SYNONYMS.get(name, name)
    if name not in CANONICAL:
        raise ValueError(f"{word!r} is no emotion; known are {', '.join(CANONICAL)}")
    return name


@dataclass(frozen=True)
class Labels:
    """The classes of one dataset.

    Attributes:
        dataset: name of the dataset, for messages.
        names: class names in the dataset's spelling, in the order of its numbers.
        first: number of the first class in the dataset's files.
    """

    dataset: str
    names: tuple[str, ...]
    first: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def index_of_number(self, number: int) -> int:
        """Converts a number in the dataset's files to an index into `names`.

        Raises:
            ValueError: the number is out of range.
        """
        if not self.first <= number < self.first + len(self):
            raise ValueError(f"{self.dataset} numbers run from {self.first} to {self.first + len(self) - 1}")
        return number - self.first

    def index_of_word(self, word: str) -> int:
        """Converts a class name or a synonym (case-insensitive) to an index into `names`.

        Raises:
            ValueError: the dataset has no such class.
        """
        lower = [name.lower() for name in self.names]
        if word.strip().lower() in lower:
            return lower.index(word.strip().lower())
        meanings = [canonical(name) for name in self.names]
        meaning = canonical(word)
        if meaning is None or meaning not in meanings:
            raise ValueError(f"{word!r} is no class of {self.dataset}: {', '.join(self.names)}")
        return meanings.index(meaning)


_ALPHABETICAL = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")

FER2013 = Labels("FER2013", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
"""Column `emotion` of the csv, numbers 0 to 6."""

FER2013_FOLDERS = Labels("FER2013 folders", _ALPHABETICAL)
"""Class folders of the mirror in alphabetical order, which differs from the csv's order."""

FERPLUS = Labels(
    "FERPlus", ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
)
"""Vote columns. The first eight are the classes; NF means "not a face"."""

FERPLUS_CLASSES = FERPLUS.names[:8]

AFEW = Labels("AFEW", _ALPHABETICAL)
"""Class folders in alphabetical order. The official class file numbers them from 1 to 7."""

RAF = Labels("RAF-DB", ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"), first=1)
"""Basic package, numbers 1 to 7."""

RAF_ML = Labels("RAF-ML", RAF.names[:6])
"""The six columns of `distribution.txt`. The rest to a sum of 1 is neutral."""

RAF_COMPOUND = (
    ("happiness", "surprise"),
    ("happiness", "disgust"),
    ("sadness", "fear"),
    ("sadness", "anger"),
    ("sadness", "surprise"),
    ("sadness", "disgust"),
    ("fear", "anger"),
    ("fear", "surprise"),
    ("anger", "surprise"),
    ("anger", "disgust"),
    ("disgust", "surprise"),
)
"""The two canonical emotions of each class of the compound package. Numbers start at 1 (happily surprised)."""

AFFECTNET = Labels(
    "AffectNet",
    (
        "neutral",
        "happiness",
        "sadness",
        "surprise",
        "fear",
        "disgust",
        "anger",
        "contempt",
        "none",
        "uncertain",
        "no-face",
    ),
)
"""Column `expression`, numbers 0 to 10."""

CKPLUS = Labels("CK+", ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"))
"""Number in a file `*_emotion.txt`, 0 to 7."""

FRIENDS = Labels("Friends", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "none"))
"""Words in the annotations (case-insensitive); `anger`, `happiness` and `sadness` occur too. `none` is left out."""

VTT = Labels("VTT", CANONICAL[:7])
"""Classes of VTT's output, in order."""


def mapping(source: Labels, target: Labels) -> tuple[int | None, ...]:
    """Returns the index in `target` of each class of `source`, in the order of `source`; None without a counterpart."""
    places = {canonical(name): place for place, name in enumerate(target.names)}
    places.pop(None, None)
    return tuple(places.get(canonical(name)) for name in source.names)
