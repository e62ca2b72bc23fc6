"""The one registry of emotion labels: the classes of each dataset in its own order and numbering, and the maps between.

Two numberings of the same seven words differ in FER2013's csv, its folder mirror, AFEW, RAF-DB, AffectNet and CK+;
`mapping` goes through the canonical name of each class, never through its number.
"""

from __future__ import annotations

from dataclasses import dataclass

CANONICAL = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")
"""One name for each emotion; the first seven are in FER2013's order, which is that of VTT's output."""

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
    """Canonical name of what a dataset calls an emotion, whatever its case; None for `none`, `uncertain` and the like.

    Raises:
        ValueError: no such emotion.
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
        dataset: its name, for messages.
        names: its classes as it spells them, in the order of its numbers.
        first: the number of the first class in its files.
    """

    dataset: str
    names: tuple[str, ...]
    first: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def index_of_number(self, number: int) -> int:
        """Place among `names` of a number in the dataset's files.

        Raises:
            ValueError: no such number.
        """
        if not self.first <= number < self.first + len(self):
            raise ValueError(f"{self.dataset} numbers run from {self.first} to {self.first + len(self) - 1}")
        return number - self.first

    def index_of_word(self, word: str) -> int:
        """Place among `names` of a word or a synonym of it, whatever its case.

        Raises:
            ValueError: no such class.
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
"""Column `emotion` of the csv, 0 to 6."""

FER2013_FOLDERS = Labels("FER2013 folders", _ALPHABETICAL)
"""The class folders of the mirror as a directory lists them; not the csv's order."""

FERPLUS = Labels(
    "FERPlus", ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
)
"""The vote columns; the first eight are the classes, NF is "not a face"."""

FERPLUS_CLASSES = FERPLUS.names[:8]

AFEW = Labels("AFEW", _ALPHABETICAL)
"""The class folders, alphabetical; the official class file counts them 1 to 7."""

RAF = Labels("RAF-DB", ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"), first=1)
"""Basic package, 1 to 7."""

RAF_ML = Labels("RAF-ML", RAF.names[:6])
"""The six columns of `distribution.txt`; what they leave to a sum of 1 is neutral."""

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
"""The two emotions (canonical) of each class of the compound package, numbered from 1: happily surprised is 1."""

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
"""Column `expression`, 0 to 10."""

CKPLUS = Labels("CK+", ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"))
"""The number in an `_emotion.txt`, 0 to 7."""

FRIENDS = Labels("Friends", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "none"))
"""The strings of the annotations, in any case; `anger`, `happiness` and `sadness` occur too. `none` is skipped."""

VTT = Labels("VTT", CANONICAL[:7])
"""Order and names of VTT's output."""


def mapping(source: Labels, target: Labels) -> tuple[int | None, ...]:
    """Place in `target` of each class of `source`, in the order of `source`; None where it has no counterpart."""
    places = {canonical(name): place for place, name in enumerate(target.names)}
    places.pop(None, None)
    return tuple(places.get(canonical(name)) for name in source.names)
