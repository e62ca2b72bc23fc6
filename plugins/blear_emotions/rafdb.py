"""The raw layout of RAF-DB's three packages: basic, compound and multi (RAF-ML).

    <package>/EmoLabel/list_patition_label.txt                  basic, compound: "train_00001.jpg 5", spelt like this
    <package>/EmoLabel/distribution.txt                         multi: a name and six shares
    <package>/Image/original/train_00001.jpg                    the web image
    <package>/Image/aligned/train_00001_aligned.jpg             the aligned face
    <package>/Annotation/boundingbox/train_00001_boundingbox.txt  basic, compound: xmin ymin xmax ymax
    <package>/Annotation/manual/train_00001_manu_attri.txt      basic, compound: landmarks, then gender, race, age
    <package>/Annotation/manual/train_00001_manu_ldmk.txt       multi: landmarks; some files end as `_manu_attri` do

Labels keep the numbers of the files; `blear_emotions.labels` defines their meaning. Annotations are read on access.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from blear.errors import DataError
from blear.imaging import Box
from blear_emotions.labels import RAF, RAF_COMPOUND, RAF_ML

Package = Literal["basic", "compound", "multi"]
PACKAGES: tuple[Package, ...] = ("basic", "compound", "multi")
SPLITS = ("train", "test")

_CODES = {"basic": len(RAF), "compound": len(RAF_COMPOUND)}
_NAME = re.compile(r"[A-Za-z0-9_-]+\.(jpg|jpeg|png)", re.IGNORECASE)
_MULTI_MARGIN = 0.5  # of width and height on each side: multi has no face boxes, only landmarks


@dataclass(frozen=True)
class Attributes:
    """Attribute codes of one face.

    Attributes:
        gender: 0 male, 1 female, 2 unsure.
        race: 0 Caucasian, 1 African-American, 2 Asian.
        age: 0 up to 3 years, 1 up to 19, 2 up to 39, 3 up to 69, 4 above.
    """

    gender: int
    race: int
    age: int


@dataclass(frozen=True)
class RafFace:
    """One line of a package's label file.

    Attributes:
        folder: folder of the package.
        name: file name of the original image, such as `train_00001.jpg`.
        where: label file and row, for messages.
        code: basic 1 to 7 (`labels.RAF`), compound 1 to 11 (`labels.RAF_COMPOUND`); 0 in multi.
        shares: multi: six shares in the order of `labels.RAF_ML`; the rest to a sum of 1 is neutral. Otherwise empty.
    """

    folder: Path
    package: Package
    name: str
    where: str
    code: int = 0
    shares: tuple[float, ...] = ()

    @property
    def stem(self) -> str:
        """The file name without its extension."""
        return self.name.rpartition(".")[0]

    @property
    def split(self) -> str:
        """train or test, from the prefix of the file name.

        Raises:
            DataError: the name has neither prefix.
        """
        prefix = self.name.partition("_")[0]
        if prefix not in SPLITS:
            do = "the split is the name's prefix, train_ or test_: use the package as released"
            raise DataError(f"{self.name!r} names no split", self.where, do)
        return prefix

    @property
    def image(self) -> Path:
        """The original web image."""
        return self.folder / "Image" / "original" / self.name

    @property
    def aligned(self) -> Path:
        """The aligned face."""
        return self.folder / "Image" / "aligned" / f"{self.stem}_aligned.jpg"

    def box(self) -> Box:
        """Returns the face box in pixels of the original image.

        For multi: the bounding box of the landmarks, extended on each side by half of its width and height.

        Raises:
            DataError: the annotation is missing, invalid or empty.
        """
        if self.package == "multi":
            points_P2 = self.landmarks()
            (left, top), (right, bottom) = points_P2.min(axis=0).tolist(), points_P2.max(axis=0).tolist()
            return _box(left, top, right, bottom, self._manual).grown(_MULTI_MARGIN)
        file = self.folder / "Annotation" / "boundingbox" / f"{self.stem}_boundingbox.txt"
        lines = _lines(file)
        if len(lines) != 1:
            raise DataError(f"{len(lines)} lines instead of one", str(file), "use the package as released")
        n, fields = lines[0]
        if len(fields) != 4:
            do = "it must be xmin ymin xmax ymax"
            raise DataError(f"{len(fields)} numbers instead of 4", f"{file}:{n}", do)
        left, top, right, bottom = (_number(field, f"{file}:{n}") for field in fields)
        return _box(left, top, right, bottom, file)

    def landmarks(self) -> np.ndarray:
        """Returns the manual landmarks, float64 [P, 2] as (x, y) in pixels of the original image. In basic P is 5.

        Raises:
            DataError: the annotation is missing or invalid.
        """
        return self._manual_annotation()[0]

    def attributes(self) -> Attributes | None:
        """Returns gender, race and age; None if the file has only landmarks, as most files of multi.

        Raises:
            DataError: as `landmarks`.
        """
        return self._manual_annotation()[1]

    @property
    def _manual(self) -> Path:
        ending = "ldmk" if self.package == "multi" else "attri"
        return self.folder / "Annotation" / "manual" / f"{self.stem}_manu_{ending}.txt"

    def _manual_annotation(self) -> tuple[np.ndarray, Attributes | None]:
        file = self._manual
        points: list[list[float]] = []
        codes: list[float] = []
        for n, fields in _lines(file):
            where = f"{file}:{n}"
            if len(fields) == 2 and not codes:
                points.append([_number(field, where) for field in fields])
            elif len(fields) == 1 and points:
                codes.append(_number(fields[0], where))
            else:
                raise DataError(f"{' '.join(fields)!r} is not a landmark x y", where, "use the package as released")
        if not points or len(codes) not in (0, 3) or any(code != int(code) or code < 0 for code in codes):
            what = f"{len(points)} landmarks and {len(codes)} attributes"
            do = "landmarks come first, then nothing or gender, race and age as whole numbers"
            raise DataError(what, str(file), do)
        return np.array(points), Attributes(*map(int, codes)) if codes else None


def read_package(source: Path, package: Package) -> list[RafFace]:
    """Reads the label file of one package. Returns its faces in the order of the file.

    Args:
        source: folder of the packages, or folder of this package.
        package: name of the package.

    Raises:
        DataError: the package or its label file is missing, or a row is invalid or duplicate.
    """
    folder = source / package if (source / package).is_dir() else source
    file = folder / "EmoLabel" / ("distribution.txt" if package == "multi" else "list_patition_label.txt")
    if not file.is_file():
        do = f"give the folder that holds {package}/, with EmoLabel, Image and Annotation in it"
        raise DataError(f"no label file of RAF's package {package!r}", str(file), do)
    faces: dict[str, RafFace] = {}
    for n, fields in _lines(file):
        face = _face(folder, package, fields, f"{file}:{n}")
        if face.name in faces:
            raise DataError(f"{face.name} comes twice", face.where, f"it is in {faces[face.name].where} already")
        faces[face.name] = face
    if not faces:
        raise DataError("has no row", str(file), "use the package as released")
    return list(faces.values())


def _face(folder: Path, package: Package, fields: list[str], where: str) -> RafFace:
    columns = 1 + (len(RAF_ML) if package == "multi" else 1)
    if len(fields) != columns:
        raise DataError(f"{len(fields)} columns instead of {columns}", where, "use the label file as released")
    name = fields[0]
    if not _NAME.fullmatch(name):
        raise DataError(f"{name!r} is not the name of an image", where, "it must be like train_00001.jpg")
    values = tuple(_number(field, where) for field in fields[1:])
    if package == "multi":
        if min(values) < 0 or sum(values) > 1.05:  # printed shares are rounded
            what = f"the shares {' '.join(fields[1:])} are not those of a distribution"
            raise DataError(what, where, "each must be 0 or more, their sum 1 or less")
        return RafFace(folder, package, name, where, shares=values)
    if values[0] not in range(1, _CODES[package] + 1):
        what = f"label {fields[1]} is not one of 1 to {_CODES[package]}"
        raise DataError(what, where, f"check that this is the label file of {package}")
    return RafFace(folder, package, name, where, code=int(values[0]))


def _lines(file: Path) -> list[tuple[int, list[str]]]:
    """Returns (line number, fields) of each line that is not blank. Fields are separated by spaces or tabs."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", str(file), "use the package as released") from error
    return [(n, fields) for n, line in enumerate(text.splitlines(), 1) if (fields := line.split())]


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{text!r} is not a number", where, "use the package as released")
    return value


def _box(left: float, top: float, right: float, bottom: float, file: Path) -> Box:
    if right <= left or bottom <= top:
        what = f"the face box {left:g} {top:g} {right:g} {bottom:g} has no area"
        raise DataError(what, str(file), "use the package as released")
    return Box(left, top, right - left, bottom - top)
