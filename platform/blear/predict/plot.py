"""Plots predictions over time: one panel for each target and person."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blear.errors import RunError
from blear.predict.rows import Labels

_MOST_PEOPLE = 8
_GAP_S = 2.0  # a longer pause interrupts a line


def plot_predictions(rows: Iterable[Mapping[str, Any]], targets: Sequence[str], labels: Labels, out: Path) -> None:
    """Writes a plot of the people with most faces; the picture stands in the page where `out` ends in .html.

    Args:
        rows: rows of `read_output`.

    Raises:
        RunError: the suffix is neither .png nor .html.
    """
    if out.suffix.lower() not in (".png", ".html"):
        raise RunError(f"the suffix {out.suffix!r} cannot be written", str(out), "choose .png or .html")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    people: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        people.setdefault((row["input"], str(row["person"])), []).append(row)
    shown = sorted(people, key=lambda person: -len(people[person]))[:_MOST_PEOPLE]
    height = 2.4 * max(1, len(shown)) * len(targets)
    figure = Figure(figsize=(10, height + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(1, len(shown)) * len(targets), 1, squeeze=False)[:, 0]
    for place, (source, person) in enumerate(shown):
        of_person = people[source, person]
        seconds = np.array([row["seconds"] for row in of_person])
        gaps = np.flatnonzero(np.diff(seconds) > _GAP_S) + 1
        for number, target in enumerate(targets):
            axis = axes[place * len(targets) + number]
            classes = [f"{target}_{name}" for name in labels.get(target, ())]
            lines = classes or [target, f"{target}_smoothed"]
            for line in lines:
                values = np.array([row[line] for row in of_person], dtype=float)
                axis.plot(
                    np.insert(seconds, gaps, np.nan),
                    np.insert(values, gaps, np.nan),
                    ".-",
                    ms=3,
                    lw=1.2,
                    label=line.removeprefix(f"{target}_") if target in labels else line.replace("_", ", "),
                )
            axis.set_title(f"{Path(source).name}, person {person}: {target}", fontsize=9, loc="left")
            axis.set_ylim((0, 1) if target in labels else (-1.05, 1.05))
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
            axis.set_xlabel("seconds", fontsize=8)
    if not shown:
        axes[0].set_title("no face")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    content = picture.getvalue()
    if out.suffix.lower() == ".html":
        encoded = base64.b64encode(content).decode()
        image = f"<img src='data:image/png;base64,{encoded}'>"
        content = f"<!doctype html><meta charset=utf-8><title>Predictions</title>{image}\n".encode()
    partial = out.with_name(f".{out.name}.writing")
    partial.write_bytes(content)
    partial.replace(out)
