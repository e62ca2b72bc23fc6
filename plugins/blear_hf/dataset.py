"""The dataset `hf/dataset`."""

import hashlib
import multiprocessing
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image, ImageOps

from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear.errors import DataError
from blear.imaging import read_picture
from blear.video import read_video
from blear_hf import HfParams

_MOST_CLASSES = 1000  # of a column of text or whole numbers; more different values are no classes


class HfDataset:
    """A `contracts.Dataset` with one sample per row. Words become classes in alphabetical order, numbers regression.

    Raises:
        DataError: the dataset cannot be loaded, a column, split or part is missing, or a row has no label or cannot be
            decoded.
    """

    terms = "See the data set's card: https://huggingface.co/datasets"

    def __init__(self, params: HfParams, context: BuildContext) -> None:
        self._params, self._where = params, f"hf/dataset: {params.source or params.hub}"
        self._rows = _load(params, self._where)
        self.splits = tuple(params.splits) or tuple(sorted(self._rows, key=lambda name: not name.startswith("train")))
        self._check("split", self.splits, self._rows)
        if params.subject is not None:
            self._check("column", [params.subject], self._rows[self.splits[0]].features)
        self._draw_splits()
        self._columns = self._rows[self.splits[0]].features
        kinds = {name: type(feature).__name__ for name, feature in self._columns.items()}
        frame_columns = (
            [params.frames] if params.frames else [n for n, kind in kinds.items() if kind in ("Image", "Video")][:1]
        )
        self._check("column", [*(frame_columns or ["image"]), *params.targets, *filter(None, [params.subject])], kinds)
        self._frames, self._video = frame_columns[0], kinds[frame_columns[0]] == "Video"
        names = params.targets or self._label_columns(kinds)
        self._require_alike([self._frames, *names, *filter(None, [params.subject])])
        self.targets = tuple(map(self._target, names))
        length = params.length if self._video else 1
        self.clip = ClipSpec(length, 3 if params.color == "rgb" else 1, params.size, params.size)

    def parts(self, split: str) -> list[str]:
        """Names of blocks of 1000 rows: the number of the first row."""
        self._check("split", [split], self._rows)
        return [str(first) for first in range(0, len(self._rows[split]), 1000)]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the rows of a block."""
        self._check("part", [part], self.parts(split))
        rows = self._rows[split]
        for number in range(int(part), min(int(part) + 1000, len(rows))):
            row, where = rows[number], f"{self._where}, {split}, row {number}"
            targets = {
                target.name: _label(target, self._columns[target.name], row[target.name], where)
                for target in self.targets
            }
            subject = str(row[self._params.subject]) if self._params.subject else ""
            yield Sample(f"{split}_{number:08d}", self._clip(row[self._frames], where), targets, subject=subject)

    def _draw_splits(self) -> None:
        """Divides the first split, if the parameters ask for it."""
        params, first = self._params, self.splits[0]
        shares = {name: share for name, share in (("dev", params.dev), ("test", params.test)) if share is not None}
        if twice := [name for name in shares if name in self._rows]:
            raise DataError(f"the data have a split {twice[0]!r} already", self._where, f"remove `{twice[0]}`")
        if not shares:
            return
        rows = self._rows[first]
        groups = rows[params.subject] if params.subject else range(len(rows))
        drawn = draw_rows([str(group) for group in groups], first, shares)
        self._rows |= {split: rows.select(numbers) for split, numbers in drawn.items()}
        self.splits = (first, *self.splits[1:], *shares)

    def _check(self, what: str, names: Iterable[str], available: Iterable[str]) -> None:
        if missing := [name for name in names if name not in available]:
            raise DataError(
                f"no {what} {', '.join(map(repr, missing))}", self._where, f"it has: {', '.join(available)}"
            )

    def _require_alike(self, names: Sequence[str]) -> None:
        """Raises a DataError where a column of another split is missing, of another kind, or has its classes in another
        order."""
        for split in self.splits[1:]:
            features = self._rows[split].features
            for name in names:
                own, found = self._columns[name], features.get(name)
                if type(found) is not type(own) or getattr(found, "names", ()) != getattr(own, "names", ()):
                    what = (
                        f"column {name!r} is {own} in split {self.splits[0]!r}, but {found or 'missing'} in {split!r}"
                    )
                    do = "cast the splits to the same features (`cast_column`), or name the others in `splits`"
                    raise DataError(what, self._where, do)

    def _label_columns(self, kinds: dict[str, str]) -> list[str]:
        """Returns the columns of type ClassLabel, else the column `label` or `labels`, whatever its type is."""
        found = [name for name, kind in kinds.items() if kind == "ClassLabel"]
        if not found:
            found = [name for name in kinds if name in ("label", "labels")][:1]
        if not found:
            do = f"name columns in `targets`; it has: {', '.join(kinds)}"
            raise DataError("no column of type ClassLabel, and none called label or labels", self._where, do)
        return found

    def _target(self, name: str) -> Target:
        feature, named = self._columns[name], name in self._params.targets
        kind = str(getattr(feature, "dtype", type(feature).__name__))
        if isinstance(feature, datasets.ClassLabel):
            return Target(name, "class", classes=tuple(feature.names))
        named = named and name not in self._params.classes
        if kind in ("string", "large_string", "bool") or (kind.removeprefix("u").startswith("int") and not named):
            values = {value for split in self.splits for value in self._rows[split].unique(name)} - {None}
            if len(values) > _MOST_CLASSES:
                do = f"for regression of numbers set `targets: [{name}]`, else name another column"
                raise DataError(f"column {name!r} has {len(values)} different values", self._where, do)
            return Target(name, "class", classes=tuple(map(str, sorted(values))))
        if kind.removeprefix("u").startswith(("int", "float", "double")):
            return Target(name, "value")
        raise DataError(
            f"column {name!r} is of type {kind}", self._where, "name columns of classes, text or numbers in `targets`"
        )

    def _clip(self, stored: dict[str, Any], where: str) -> np.ndarray:
        """Decodes an image or video, given as bytes or path, to frames uint8 [T, H, W, C]."""
        try:
            encoded = stored["bytes"] or Path(stored["path"]).read_bytes()
            if not self._video:
                picture = read_picture(encoded, where, color=self._params.color)
                return self._resized(Image.fromarray(picture))[None]
            with tempfile.NamedTemporaryFile() as file:
                Path(file.name).write_bytes(encoded)
                frames = list(read_video(Path(file.name), damaged="skip"))
        except (OSError, TypeError) as error:
            raise DataError(f"cannot be decoded: {error}", where, "fix the file or leave the row out") from error
        if not frames:
            raise DataError("every frame of the video is damaged", where, "fix the file or leave the row out")
        chosen = np.linspace(0, len(frames) - 1, self.clip.length).round().astype(int)
        return np.stack([self._resized(Image.fromarray(frames[index].image_HWC)) for index in chosen])

    def _resized(self, image: Image.Image) -> np.ndarray:
        coloured, size = image.convert("RGB" if self.clip.channels == 3 else "L"), self._params.size
        picture = np.array(ImageOps.fit(coloured, (size, size), Image.Resampling.BICUBIC))
        return picture.reshape(size, size, self.clip.channels)


def _label(target: Target, feature: Any, value: Any, where: str) -> int | float:
    if value is None or (isinstance(feature, datasets.ClassLabel) and value == -1):  # -1: an unknown class
        raise DataError(f"{target.name} is missing", where, "leave the row out")
    if target.kind == "value":
        return float(value)
    return value if isinstance(feature, datasets.ClassLabel) else target.classes.index(str(value))


def draw_rows(groups: Sequence[str], rest: str, shares: Mapping[str, float]) -> dict[str, list[int]]:
    """Returns split -> numbers of its rows; all rows of a group get the same split.

    Args:
        groups: subject or number of each row.
        rest: name of the split of all other rows.
        shares: split -> share of the groups, which are sorted by a hash; at least one group.
    """
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(f"blear split {group}".encode()).digest())
    split_of, start = dict.fromkeys(ordered, rest), 0
    for split, share in shares.items():
        end = start + max(1, round(share * len(ordered)))
        split_of |= dict.fromkeys(ordered[start:end], split)
        start = end
    rows: dict[str, list[int]] = {name: [] for name in (rest, *shares)}
    for number, group in enumerate(groups):
        rows[split_of[group]].append(number)
    return rows


def _quiet() -> None:
    """Turns the library's progress bars off where several processes, or no terminal, would show them."""
    if multiprocessing.parent_process() is not None or not sys.stderr.isatty():
        datasets.disable_progress_bars()


def _load(params: HfParams, where: str) -> dict[str, Any]:
    _quiet()
    place = str(params.source or params.hub)
    saved = params.source and any((params.source / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        loaded = datasets.load_from_disk(place) if saved else datasets.load_dataset(place, revision=params.revision)
    except Exception as error:
        raise DataError(f"cannot be loaded: {error}", where, "check name, folder and connection") from error
    if isinstance(loaded, datasets.Dataset):  # of one split, whose name `save_to_disk` keeps in the features only
        loaded = datasets.DatasetDict({"train": loaded})
    return {split: _encoded(rows) for split, rows in loaded.items()}


def _encoded(rows: Any) -> Any:
    """The rows with images and videos as encoded bytes."""
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image | datasets.Video):
            rows = rows.cast_column(name, type(feature)(decode=False))
    return rows
