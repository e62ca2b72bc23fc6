"""Results in terminals of 80 and 40 columns, and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from blear.terminal import print_markdown

ARMS = ("clean faces only", "trained on mixed degradations", "restored")
SUMMARY = "\n".join(
    [
        "| Accuracy, downscale | 1 | 2 | 3 | 4 | 6 | 8 |",
        "| --- |" + " ---: |" * 6,
        *(f"| {arm} |" + " 0.812\\* [0.790, 0.833] |" * 5 + " - |" for arm in ARMS),
    ]
)
TESTS = "\n".join(
    [
        "| Accuracy minus clean, McNemar's test | condition | at | difference | p | Holm |",
        "| --- |" + " ---: |" * 5,
        "| restored | downscale | 4 | 0.031 [0.010, 0.052] | 0.012 | 0.036 |",
        "| restored | downscale | 8 | 0.041 [0.011, 0.072] | 0.002 | 0.006 |",
    ]
)
NOTE = "Accuracy of emotion, higher is better. \\*: the paired difference from clean faces only excludes zero."
TEXT = f"{SUMMARY}\n\n{TESTS}\n\n{NOTE}"


def printed(text: str, width: int, *, terminal: bool = True) -> str:
    file = io.StringIO()
    print_markdown(text, Console(file=file, width=width, force_terminal=terminal, color_system=None))
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 40])
def test_tables_fit_the_terminal_with_intervals_below_the_values(width: int) -> None:
    lines = printed(TEXT, width).splitlines()
    assert max(map(len, lines)) <= width
    joined = "\n".join(lines)
    assert "|" not in joined
    assert "\\" not in joined
    assert joined.count("0.812*") == joined.count("[0.790, 0.833]") == 15
    assert not any("0.812*" in line and "[0.790" in line for line in lines)
    for number in "12346":
        assert sum(number in line.split() for line in lines) >= 1, f"the column of severity {number} has a head"
    assert "…" not in joined, "no text is cut off"


def test_a_table_that_fits_is_not_split() -> None:
    wide = printed(SUMMARY, 200)
    assert wide.count("restored") == 1
    assert printed(SUMMARY, 80).count("restored") == 2


def test_rows_that_share_their_first_column_become_lists_where_space_is_short() -> None:
    assert "  at: 4\n  difference: 0.031 [0.010, 0.052]\n  p: 0.012\n" in printed(TESTS, 40)
    assert "at: " not in printed(TESTS, 100)


def test_a_pipe_gets_the_markdown() -> None:
    assert printed(TEXT, 40, terminal=False) == TEXT + "\n"
