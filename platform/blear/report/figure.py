"""A figure of the page: its drawings, the numbers in it, and both as files."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from blear.report.drawing import inline, svg
from blear.storage.run_folder import write_text

Cell = str | float | int | bool | None


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Attributes:
        name: unique in the report, `[a-z0-9-]+`; the name of its file.
        alt: what a screen reader says.
        wide: across the page, and on wide windows only; the other panels of the figure are then for narrow ones.
        group: heading of the panels that belong together; empty: none.
    """

    name: str
    alt: str
    canvas: Canvas
    wide: bool = False
    group: str = ""


@dataclass(frozen=True)
class Figure:
    """Drawings beside each other, what they say, and their numbers.

    Attributes:
        name: unique in the report, `[a-z0-9-]+`; the name of its file of numbers.
        rows: its numbers, a dictionary for each row of the CSV.
        arms: whether the arms' colours are explained above it.
    """

    name: str
    caption: str
    panels: Sequence[Panel]
    rows: Sequence[Mapping[str, Cell]]
    arms: bool = False
    texts: dict[str, str] = field(default_factory=dict, init=False, compare=False)

    def __post_init__(self) -> None:
        self.texts.update((panel.name, svg(panel.canvas)) for panel in self.panels)

    @property
    def drawings(self) -> list[tuple[Panel, str]]:
        """Each panel with its SVG for the page."""
        return [(panel, inline(self.texts[panel.name], panel.name, panel.alt)) for panel in self.panels]

    @property
    def groups(self) -> list[tuple[str, list[str]]]:
        """Heading -> SVGs for the page, of all panels but the wide ones."""
        found: dict[str, list[str]] = {}
        for panel, text in self.drawings:
            if not panel.wide:
                found.setdefault(panel.group, []).append(text)
        return list(found.items())

    @property
    def csv(self) -> str:
        """The numbers, unrounded, with a header."""
        return as_csv(self.rows)

    @property
    def downloads(self) -> list[tuple[str, str]]:
        """File name -> data URI: the numbers, and the drawings as they lie in `figures/`."""
        files = [(f"{self.name}.csv", _uri("text/csv", self.csv))]
        wide = [panel for panel in self.panels if panel.wide]
        files += [(f"{p.name}.svg", _uri("image/svg+xml", self.texts[p.name])) for p in wide or self.panels]
        return files

    def save(self, folder: Path) -> None:
        """Writes the numbers and every drawing."""
        write_text(folder / f"{self.name}.csv", self.csv)
        for name, text in self.texts.items():
            write_text(folder / f"{name}.svg", text)


def as_csv(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Rows that have the same keys, with a header; nothing where a cell is None."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def slug(name: str) -> str:
    """A name for files and ids: lower case, everything else a dash."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower()).strip("-") or "x"


def _uri(kind: str, text: str) -> str:
    return f"data:{kind};base64," + base64.b64encode(text.encode()).decode()
