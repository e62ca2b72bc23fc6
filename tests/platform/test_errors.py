"""Errors that a user can fix."""

from __future__ import annotations

import pytest

from blear.errors import RunError, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one"), "one"),
        (RunError("a worker was lost", "stage one", "give the command again"), "stage one: a worker was lost"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("\n"), "RuntimeError"),
    ],
)
def test_an_error_is_named_in_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
