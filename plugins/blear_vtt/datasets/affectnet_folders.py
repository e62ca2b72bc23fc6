"""AffectNet's newer release: 224 x 224 crops `train_set/images/<n>.jpg` and `train_set/annotations/<n>_exp.npy`, ..."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from blear.clips import read_array
from blear.errors import DataError
from blear.imaging import picture_files
from blear_emotions.labels import AFFECTNET
from blear_vtt.datasets.stills import Still

BLOCK = 4096
_FOLDERS = {"train": "train_set", "dev": "val_set"}
_OPTIONAL = {"valence": "val", "arousal": "aro"}


class FolderRelease:
    """Reader of the pictures in the order of their numbers. The pictures are face crops; there are no boxes."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._names: dict[str, list[str]] = {}

    def counts(self, split: str) -> Counter[int | str]:
        """See `affectnet.Release`. Reads the `_exp.npy` of every picture."""
        return Counter(self._number(split, name) for name in self._listed(split))

    def blocks(self, split: str) -> list[str]:
        """Names `<first>-<last>`: indices of the pictures, from 0."""
        count = len(self._listed(split))
        return [f"{first:07d}-{min(first + BLOCK, count) - 1:07d}" for first in range(0, count, BLOCK)]

    def rows(self, split: str, block: str, wanted: Collection[int]) -> Iterator[tuple[int, Still]]:
        """See `affectnet.Release`."""
        ends = block.split("-")
        folder = self._folder(split)
        if len(ends) != 2 or not all(end.isdecimal() for end in ends):
            raise DataError(f"no part is called {block!r}", str(folder), "use the names that `parts` gives")
        for name in self._listed(split)[int(ends[0]) : int(ends[1]) + 1]:
            number, picture = self._number(split, name), folder / "images" / f"{name}.jpg"
            if number not in wanted:
                continue
            meta: dict[str, str | int | float] = {
                key: _value(file)
                for key, ending in _OPTIONAL.items()
                if (file := self._annotation(split, name, ending)).is_file()
            }
            yield number, Still(f"{split}/{name}", picture, None, (), str(picture), meta)

    def _listed(self, split: str) -> list[str]:
        if split not in self._names:
            folder = self._folder(split) / "images"
            names = [file.stem for file in picture_files(folder, (".jpg",))] if folder.is_dir() else []
            odd = sorted(name for name in names if not name.isdecimal())
            if odd:
                raise DataError(f"{odd[0]}.jpg is not named by a number", str(folder), "use the release as it is")
            if not names:
                raise DataError("holds no picture <n>.jpg", str(folder), "give the folder of AffectNet as `source`")
            self._names[split] = sorted(names, key=int)
        return self._names[split]

    def _number(self, split: str, name: str) -> int:
        file = self._annotation(split, name, "exp")
        value = _value(file)
        if value != int(value) or not 0 <= value < len(AFFECTNET):
            what = f"expression {value:g} is not one of 0 to {len(AFFECTNET) - 1}"
            raise DataError(what, str(file), "use the release as it is")
        return int(value)

    def _annotation(self, split: str, name: str, ending: str) -> Path:
        return self._folder(split) / "annotations" / f"{name}_{ending}.npy"

    def _folder(self, split: str) -> Path:
        return self._source / _FOLDERS[split]


def _value(file: Path) -> float:
    """Reads the single number in an npy file, stored as a number or as text."""
    try:
        array = read_array(file.read_bytes())
        value = float(array.reshape(-1)[0]) if array.size == 1 else math.nan
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot be read: {error}", str(file), "each picture needs its annotation") from error
    if not math.isfinite(value):
        raise DataError(f"holds {array.size} values, not one number", str(file), "use the release as it is")
    return value
