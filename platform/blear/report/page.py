"""Puts the page together from its sections, and writes every figure as files beside it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2

from blear.errors import RunError
from blear.evaluate.markdown import format_number
from blear.progress import duration
from blear.report.curves import wide_curve
from blear.report.files import read_run
from blear.report.outcome import outcome
from blear.report.section import Section
from blear.report.sections import (
    calibration,
    confusion,
    faces,
    learning,
    mistakes,
    provenance,
    rate,
    robustness,
    scalars,
    search,
    slices,
    tests,
)
from blear.report.text import component, moment, pvalue
from blear.report.theme import declarations
from blear.report.view import View, view_of
from blear.storage.run_folder import write_bytes, write_text

_DPI = 160
_SECTIONS: Sequence[Callable[[View], Section | None]] = (
    robustness.section,
    search.section,
    scalars.section,
    tests.section,
    rate.section,
    confusion.section,
    calibration.section,
    slices.section,
    faces.section,
    mistakes.section,
    learning.section,
    provenance.section,
)


def build(run: Path) -> Path:
    """Writes report.html, one page that loads nothing from elsewhere, and figures/, into the run folder.

    Returns:
        The page's path.

    Raises:
        RunError: the run is not evaluated, or a file of it is missing or damaged.
    """
    view = view_of([read_run(run)])
    shutil.rmtree(run / "figures", ignore_errors=True)  # of an earlier evaluation, perhaps with other conditions
    return _write(view, run)


def compare(runs: Sequence[Path], out: Path) -> Path:
    """The same page for several runs together, in a folder of its own.

    Returns:
        The page's path.

    Raises:
        RunError: as `build`; the runs were not evaluated alike, or `out` is a run folder.
    """
    if (out / "job.yaml").exists():
        raise RunError("this is a run folder", str(out), "give another --out")
    return _write(view_of([read_run(run) for run in runs]), out)


def curve_png(run: Path, path: Path) -> Path:
    """Writes the robustness curve of an evaluated run as a PNG picture.

    Raises:
        RunError: the run is not evaluated, or a file of it is missing or damaged.
    """
    view, buffer = view_of([read_run(run)]), io.BytesIO()
    wide_curve(view, view.main).savefig(buffer, format="png", dpi=_DPI)
    write_bytes(path, buffer.getvalue())
    return path


def _write(view: View, folder: Path) -> Path:
    sections = [found for make in _SECTIONS if (found := make(view)) is not None]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("blear.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": format_number,
        "component": component,
        "duration": duration,
        "moment": moment,
        "pvalue": pvalue,
    }
    macros = environment.get_template("macros.html.j2").module
    parts = [
        {
            "name": section.name,
            "heading": section.heading,
            "html": environment.get_template(f"sections/{section.name}.html.j2").render(
                view=view, figures=section.figures, macros=macros, **section.facts
            ),
        }
        for section in sections
    ]
    page = environment.get_template("page.html.j2").render(
        view=view, sections=parts, outcome=outcome(view), colors=declarations()
    )
    for section in sections:
        for figure in section.figures:
            figure.save(folder / "figures")
    path = folder / "report.html"
    write_text(path, page)
    return path
