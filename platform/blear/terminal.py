"""Prints results: in a terminal as tables that fit its width, into a pipe or a file as the Markdown text itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = 3  # spaces between two columns
_RULE = re.compile(r"\| *:?-+:? *(\| *:?-+:? *)*\|")
_INTERVAL = re.compile(r"(\S.*?) (\[[^\[\]]*\].*)")
Row = list[str]


def print_markdown(text: str, console: Console) -> None:
    """Prints a Markdown text of paragraphs and tables, which blank lines separate.

    Where the console is no terminal, the text is printed unchanged. In a terminal, the interval of a cell such as
    `0.812 [0.790, 0.833]` stands below its value. A table that is wider than the terminal is split into several tables
    of the same rows; where the first column does not identify a row, each row is a list of `name: value` lines.
    """
    if not console.is_terminal:
        console.out(text, highlight=False)
        return
    for number, block in enumerate(text.split("\n\n")):
        if number:
            console.print()
        lines = block.splitlines()
        if len(lines) > 1 and _RULE.fullmatch(lines[1].strip()):
            _print_table([_cells(line) for line in (lines[0], *lines[2:])], console)
        else:
            console.print(Text(block.replace("\\*", "*")), highlight=False)


def _cells(line: str) -> Row:
    fields = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [_INTERVAL.sub(r"\1\n\2", field.strip().replace("\\*", "*").replace("\\|", "|")) for field in fields]


def _print_table(rows: Sequence[Row], console: Console) -> None:
    title, *heads = rows[0]
    body = rows[1:]
    widths = [max(map(_width, column)) for column in zip(["", *heads], *body, strict=True)]
    console.print(Text(title, style="bold"), highlight=False)
    if len({row[0] for row in body}) < len(body) and sum(widths) + _GAP * len(heads) > console.width:
        _print_records(heads, body, console)
        return
    first = min(widths[0], max(console.width // 3, 8))
    for number, group in enumerate(_groups(widths[1:], console.width - first)):
        if number:
            console.print()
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("", overflow="fold", max_width=first)
        for column in group:
            table.add_column(Text(heads[column]), justify="right", overflow="fold")
        for row in body:
            table.add_row(Text(row[0]), *(Text(row[column + 1]) for column in group))
        console.print(table, highlight=False)


def _groups(widths: Sequence[int], room: int) -> list[list[int]]:
    """Splits columns into groups that fit into `room`, at least one column each."""
    groups: list[list[int]] = []
    left = 0
    for column, width in enumerate(widths):
        if not groups or width + _GAP > left:
            groups.append([])
            left = room
        groups[-1].append(column)
        left -= width + _GAP
    return groups or [[]]


def _print_records(heads: Sequence[str], body: Sequence[Row], console: Console) -> None:
    for row in body:
        console.print(Text(row[0]), highlight=False)
        for head, value in zip(heads, row[1:], strict=True):
            console.print(Text(f"  {head}: {value}".replace("\n", " ")), highlight=False)


def _width(cell: str) -> int:
    return max(cell_len(line) for line in cell.split("\n"))
