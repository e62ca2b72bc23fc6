"""RAF: the faces of its three packages with soft labels (spec section 2.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from blear.errors import DataError
from blear_emotions.labels import RAF, RAF_COMPOUND, RAF_ML, VTT
from blear_emotions.rafdb import Package, RafFace, read_package
from blear_vtt.datasets.stills import Still
from blear_vtt.datasets.targets import Shares, one_hot

TERMS = (
    "RAF-DB and RAF-ML (Li, Deng, Du 2017; Li, Deng 2019): non-commercial research, by agreement with their authors, "
    "www.whdeng.cn/raf/model1.html; do not pass pictures on."
)
SIZES: Mapping[Package, int] = {"basic": 15_339, "compound": 3_954, "multi": 4_908}
"""Number of faces of each package, train and test together."""

BLOCK = 2048
_SPLITS = {"train": "train", "dev": "test"}


class Raf:
    """`StillSource` of the packages, one after another. The test partition of the packages is the split dev.

    Args:
        source: folder of the packages.
        packages: names of the packages to read.
    """

    def __init__(self, source: Path, packages: Sequence[Package]) -> None:
        self._source, self._wanted = source, packages

    def parts(self, split: str) -> list[str]:
        """Names `<package>-<first>-<last>` of blocks of faces, in the order of the label file."""
        blocks = []
        for package in self._wanted:
            count = len(self._split(package, split))
            blocks += [f"{package}-{n:05d}-{min(n + BLOCK, count) - 1:05d}" for n in range(0, count, BLOCK)]
        return blocks

    def stills(self, split: str, part: str) -> Iterator[Still]:
        """Yields the faces of one block."""
        name, *ends = part.split("-")
        package = next((each for each in self._wanted if each == name), None)
        if package is None or len(ends) != 2 or not all(end.isdecimal() for end in ends):
            raise DataError(f"no part is called {part!r}", str(self._source), "use the names that `parts` gives")
        for face in self._split(package, split)[int(ends[0]) : int(ends[1]) + 1]:
            meta = {"package": package}
            yield Still(f"{package}/{face.stem}", face.image, face.box(), shares_of(face), face.where, meta)

    def left_out(self, split: str) -> Mapping[str, int]:
        """Empty: no face is excluded."""
        return {}

    def face_counts(self) -> Mapping[str, tuple[int, int]]:
        """Number of faces of each package: (found, published)."""
        return {package: (len(faces), SIZES[package]) for package, faces in self._faces.items()}

    def _split(self, package: Package, split: str) -> list[RafFace]:
        return [face for face in self._faces[package] if face.split == _SPLITS[split]]

    @cached_property
    def _faces(self) -> dict[Package, list[RafFace]]:
        return {package: read_package(self._source, package) for package in self._wanted}


def shares_of(face: RafFace) -> Shares:
    """Returns the share of each class of `labels.VTT`.

    basic: 1 for one class; compound: 0.5 for two classes; multi: the distribution in the label file.
    """
    if face.package == "basic":
        return one_hot(VTT.index_of_word(RAF.names[RAF.index_of_number(face.code)]), len(VTT))
    if face.package == "compound":
        parts = [VTT.index_of_word(word) for word in RAF_COMPOUND[face.code - 1]]
        return tuple(0.5 * (index in parts) for index in range(len(VTT)))
    shares = [0.0] * len(VTT)
    for word, share in zip(RAF_ML.names, face.shares, strict=True):
        shares[VTT.index_of_word(word)] = min(1.0, share)
    shares[VTT.index_of_word("neutral")] = max(0.0, 1.0 - sum(face.shares))
    return tuple(shares)
