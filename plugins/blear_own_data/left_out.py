"""Counts files that cannot be used, names them, and stops beyond a limit."""

from __future__ import annotations

import logging

from blear.errors import DataError, first_line

_log = logging.getLogger(__name__)
_NAMED = 5


class LeftOut:
    """The unusable files or rows of one part.

    Args:
        limit: how many may be left out.
        where: the source, for messages.
    """

    def __init__(self, limit: int, where: str) -> None:
        self._limit, self._where = limit, where
        self._errors: list[DataError] = []

    @property
    def count(self) -> int:
        """Number of files or rows that were left out."""
        return len(self._errors)

    def add(self, error: DataError) -> None:
        """Leaves one out and logs it.

        Raises:
            DataError: it is beyond the limit; names the first few.
        """
        self._errors.append(error)
        if len(self._errors) <= self._limit:
            _log.warning("left out: %s", first_line(error))
            return
        if not self._limit:
            do = f"{error.do}; or leave such samples out: `max_broken`" if error.do else "set `max_broken`"
            raise DataError(error.what, error.where, do) from error
        lines = "".join(f"\n    {one.where}: {one.what}" for one in self._errors[-_NAMED:])
        what = f"more than {self._limit} files or rows cannot be used:{lines}"
        raise DataError(what, self._where, "fix them, or raise `max_broken`") from error
