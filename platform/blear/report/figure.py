"""A figure of the page: its drawings and its numbers, on the page and as files."""

from __future__ import annotations

import base64
import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from blear.report.drawing import inline, svg
from blear.storage.run_folder import write_text

Cell = str | float | int | bool | None


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Attributes:
        name: `[a-z0-9-]+`; also the name of its SVG file. Equal names in a figure get numbers.
        alt: description for screen readers.
        canvas: the matplotlib figure.
        wide: whether the panel is as wide as the page. Wide windows show the wide panels of a figure, narrow windows
            show the others.
        group: heading of a group of panels; empty: no heading.
    """

    name: str
    alt: str
    canvas: Canvas
    wide: bool = False
    group: str = ""


@dataclass(frozen=True)
class Figure:
    """Panels in a row, with a caption and a table of their numbers.

    Attributes:
        name: unique in the report, `[a-z0-9-]+`; also the name of its CSV file.
        caption: text below the panels.
        rows: rows of the CSV file, column -> cell.
        legend: whether a legend of the arms is above the panels.
        texts: panel name -> SVG.
    """

    name: str
    caption: str
    panels: Sequence[Panel]
    rows: Sequence[Mapping[str, Cell]]
    legend: bool = False
    texts: dict[str, str] = field(default_factory=dict, init=False, compare=False)

    def __post_init__(self) -> None:
        names = unique_names([panel.name for panel in self.panels])
        named = [replace(panel, name=name) for panel, name in zip(self.panels, names, strict=True)]
        object.__setattr__(self, "panels", named)
        self.texts.update((panel.name, svg(panel.canvas)) for panel in self.panels)

    @property
    def drawings(self) -> list[tuple[Panel, str]]:
        """Returns each panel with its SVG for the page."""
        return [(panel, inline(self.texts[panel.name], panel.name, panel.alt)) for panel in self.panels]

    @property
    def groups(self) -> list[tuple[str, list[str]]]:
        """Returns (heading, SVGs for the page) of each group; wide panels are excluded."""
        found: dict[str, list[str]] = {}
        for panel, text in self.drawings:
            if not panel.wide:
                found.setdefault(panel.group, []).append(text)
        return list(found.items())

    @property
    def csv(self) -> str:
        """The unrounded numbers as CSV with a header."""
        return as_csv(self.rows)

    @property
    def downloads(self) -> list[tuple[str, str]]:
        """Returns (file name, data URI) of the CSV file and the SVG files, with the content of `figures/`."""
        files = [(f"{self.name}.csv", _uri("text/csv", self.csv))]
        wide = [panel for panel in self.panels if panel.wide]
        files += [(f"{p.name}.svg", _uri("image/svg+xml", self.texts[p.name])) for p in wide or self.panels]
        return files

    def save(self, folder: Path) -> None:
        """Writes the CSV file and all SVG files to a folder."""
        write_text(folder / f"{self.name}.csv", self.csv)
        for name, text in self.texts.items():
            write_text(folder / f"{name}.svg", text)


def as_csv(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Formats rows with the same keys as CSV with a header; a cell of None is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def slug(name: str) -> str:
    """Converts a name for files and ids: lower-case letters and digits, a dash for every other character."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower()).strip("-") or "x"


def unique_names(names: Sequence[str]) -> list[str]:
    """Appends numbers to equal names: `slug` is the same for all names in Chinese, for instance."""
    counts, out = Counter(names), list[str]()
    taken = {name for name, count in counts.items() if count == 1}
    for number, name in enumerate(names):
        if counts[name] > 1:
            while f"{name}-{number}" in taken:
                number += 1
            name = f"{name}-{number}"
            taken.add(name)
        out.append(name)
    return out


def _uri(kind: str, text: str) -> str:
    return f"data:{kind};base64," + base64.b64encode(text.encode()).decode()
