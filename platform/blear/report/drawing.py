"""Style of all figures, and conversion of matplotlib figures to small SVGs for files and for the page."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from blear.report.theme import COLORS, with_css_variables

_TEXT, _AXIS, _GRID, _CARD = (COLORS[name][0] for name in ("text", "axis", "grid", "card"))
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": _AXIS,
    "axes.facecolor": _CARD,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": _CARD,
    "savefig.facecolor": _CARD,
    "grid.color": _GRID,
    "legend.labelcolor": _TEXT,
    "xtick.color": _AXIS,
    "ytick.color": _AXIS,
    "xtick.labelcolor": _TEXT,
    "ytick.labelcolor": _TEXT,
    "svg.fonttype": "none",
    "svg.hashsalt": "blear",
    "text.parse_math": False,  # names with two $ are no formulas
}
WIDE, PANEL = (9.2, 4.6), (3.55, 2.75)
"""(width, height) in inches: a figure as wide as the page; one of several figures in a row, as wide as a phone."""


@contextmanager
def style() -> Iterator[None]:
    """Context manager that applies the style of all figures."""
    with mpl.rc_context(_STYLE):
        yield


def panel(
    width: float = PANEL[0], height: float = PANEL[1], *, left: float = 0.62, bottom: float = 0.48, top: float = 0.26
) -> tuple[Figure, Axes]:
    """Creates a figure with one axes and fixed margins, all in inches; much faster than a constrained layout."""
    figure = Figure(figsize=(width, height))
    inner = (width - left - 0.06) / width, (height - bottom - top) / height
    axes = figure.add_axes((left / width, bottom / height, *inner))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))  # short labels that fit the margin
    return figure, axes


def svg(figure: Figure) -> str:
    """Converts a figure to a stand-alone SVG: white background, text elements, two decimals, referenced ids only."""
    buffer = io.StringIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has the fonts
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<!DOCTYPE.*?>", "", text, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", text).replace("> <", "><")
    text = re.sub(r"<[^<>]*>", lambda tag: _rounded(tag[0]), text)
    text = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", text)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    text = text.replace(" font-family: 'DejaVu Sans';", "")
    return text.replace("<svg ", '<svg font-family="DejaVu Sans, Verdana, sans-serif" ', 1)


def _rounded(tag: str) -> str:
    """Rounds the coordinates of a tag to two decimals; numbers in names and labels are text between tags."""
    return re.sub(r'(?<=[ "(-])(\d+\.\d{3,})(?=[ ",)])', lambda found: f"{round(float(found[1]), 2):g}", tag)


def inline(text: str, name: str, description: str) -> str:
    """Converts an SVG for the page: theme colours and unique ids; screen readers read `description`."""
    text = with_css_variables(text[text.index("<svg") :])
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{zlib.crc32(name.encode()):x}-", text)
    text = re.sub(r"<defs><style.*?</style></defs>", "", text)
    text = re.sub(r' font-family="[^"]*"', "", text, count=1)
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
