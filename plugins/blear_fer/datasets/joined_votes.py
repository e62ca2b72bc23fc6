"""FERPlus votes joined with FER2013's pictures by row order. FERPlus numbers its pictures otherwise."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np

from blear.errors import DataError
from blear_fer.datasets.face_source import Face, Source
from blear_fer.datasets.protocols import USAGES
from blear_fer.datasets.votes import Votes, read_votes


class JoinedVotes:
    """Votes of the rows of a source of pictures. The constructor reads no file.

    Args:
        path: file of the votes.
        pictures: path of the pictures, for messages.
    """

    def __init__(self, path: Path, pictures: Path) -> None:
        self._path, self._pictures = path, pictures

    @cached_property
    def votes(self) -> Votes:
        """The votes of all rows."""
        return read_votes(self._path)

    def check_order(self, source: Source) -> None:
        """Checks that the source has kept the row order.

        Raises:
            DataError: it has not.
        """
        if not source.ordered:
            what = "class folders have lost the official row order, which joins the votes to the images"
            raise DataError(what, str(self._pictures), "set `source` to fer2013.csv or icml_face_data.csv")

    def check(self, source: Source) -> None:
        """Checks that the votes belong to the pictures.

        Raises:
            DataError: the row order is lost, the number of rows differs, or the usage of a row differs.
        """
        self.check_order(source)
        ours_N, theirs_N = source.usages(), self.votes.usages_N
        if len(ours_N) != len(theirs_N):
            what = f"{len(theirs_N)} rows of votes for {len(ours_N)} pictures"
            raise DataError(what, str(self._path), "take both from the same release; rows are joined by order")
        for row in np.flatnonzero(ours_N != theirs_N)[:1]:
            self._raise_mismatch(int(row), int(ours_N[row]), int(theirs_N[row]))

    def check_face(self, face: Face, usages: tuple[int, ...]) -> None:
        """Checks that a face of some usages has votes of such a usage.

        Raises:
            DataError: it has not.
        """
        usages_N = self.votes.usages_N
        if face.row >= len(usages_N):
            what = f"{len(usages_N)} rows of votes, but the pictures have a row {face.row}"
            raise DataError(what, str(self._path), "take both from the same release")
        if usages_N[face.row] not in usages:
            self._raise_mismatch(face.row, usages[0], int(usages_N[face.row]))

    def shares(self, face: Face, usages: tuple[int, ...]) -> list[float]:
        """The shares of the votes for the ten columns of `labels.FERPLUS`.

        Raises:
            DataError: the votes do not belong to the face, or there are none.
        """
        self.check_face(face, usages)
        counts_V = self.votes.counts_NV[face.row]
        if not counts_V.any():
            raise DataError("a row without a vote", f"{self._path}, row {face.row}", "fetch the file again")
        return [float(share) for share in counts_V / counts_V.sum()]

    def _raise_mismatch(self, row: int, ours: int, theirs: int) -> NoReturn:
        what = f"Usage is {USAGES[theirs]} for the votes and {USAGES[ours]} for the picture"
        do = "rows are joined by order: use both files as released, neither sorted nor filtered"
        raise DataError(what, f"{self._path}, row {row}", do)
