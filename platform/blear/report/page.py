"""Renders the page from its sections, and writes the files of all figures."""

from __future__ import annotations

import functools
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jinja2

from blear.errors import RunError
from blear.evaluate.markdown import format_number
from blear.progress import duration
from blear.report.curves import wide_curve
from blear.report.drawing import style
from blear.report.figure import slug, unique_names
from blear.report.outcome import outcome
from blear.report.run_files import RunFiles, read_run
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
from blear.report.text import format_component, format_p_value, format_time
from blear.report.theme import declarations
from blear.report.view import View, build_view
from blear.storage.run_folder import write_bytes, write_text

_DPI = 160
_Make = Callable[[View], Section | None]
_OF_TARGET: Sequence[_Make] = (
    robustness.section,
    scalars.section,
    tests.section,
    rate.section,
    confusion.section,
    calibration.section,
    slices.section,
    faces.section,
    mistakes.section,
)
_AFTER_FIRST: Sequence[_Make] = (search.section,)
_OF_RUN: Sequence[_Make] = (learning.section, provenance.section)


def build(run: Path) -> Path:
    """Writes report.html, a self-contained page, and figures/ to the run folder.

    Returns:
        The page's path.

    Raises:
        RunError: the run has not been evaluated, or one of its files is missing or damaged.
    """
    view = build_view([read_run(run)])
    shutil.rmtree(run / "figures", ignore_errors=True)  # an earlier evaluation may have had other conditions
    return _write(view, run)


def compare(runs: Sequence[Path], out: Path) -> Path:
    """Writes the page of several runs together, and figures/, to a folder of its own.

    Returns:
        The page's path.

    Raises:
        RunError: as in `build`; or the runs cannot be compared, or `out` is a run folder.
    """
    if (out / "job.yaml").exists():
        raise RunError("this is a run folder", str(out), "give another --out")
    return _write(build_view([read_run(run) for run in runs]), out)


def curve_png(run: Path, path: Path) -> Path:
    """Writes the robustness curve of the first sweep of an evaluated run as a PNG file.

    Raises:
        RunError: the run has not been evaluated, or one of its files is missing or damaged.
    """
    view, buffer = build_view([read_run(run)]), io.BytesIO()
    with style():
        wide_curve(view, view.first_sweep).savefig(buffer, format="png", dpi=_DPI)
    write_bytes(path, buffer.getvalue())
    return path


def card_page(files: RunFiles, facts: Section, path: Path) -> Path:
    """Writes the page of a report card: the results of models without training runs.

    Args:
        files: results of the models; without sample faces, the page has no pictures.
        facts: the section on models, data and suite, which comes last.

    Returns:
        The page's path.
    """
    view = build_view([files])
    of_results = _OF_TARGET if files.faces.samples else [make for make in _OF_TARGET if make is not mistakes.section]
    found = [(view, section) for make in of_results if (section := make(view)) is not None]
    write_text(path, _render(view, [*found, (view, facts)]))
    return path


def _sections(view: View) -> Iterator[tuple[View, Section]]:
    """Yields the sections of the page, each with the view of its target."""
    first, *others = _OF_TARGET
    several = bool(view.summary.other_targets)
    prefixes = unique_names([slug(target) for target in view.targets])
    for each, prefix in zip((view, *view.other_views()), prefixes, strict=True):
        is_first = each is view
        for make in (first, *(_AFTER_FIRST if is_first else ()), *others):
            if (found := make(each)) is not None:
                of_target = several and make not in _AFTER_FIRST
                yield each, found.of_target(each.summary.target, "" if is_first else prefix) if of_target else found
    for make in _OF_RUN:
        if (found := make(view)) is not None:
            yield view, found


def _write(view: View, folder: Path) -> Path:
    sections, path = list(_sections(view)), folder / "report.html"
    page = _render(view, sections)
    for _, section in sections:
        for figure in section.figures:
            figure.save(folder / "figures")
    write_text(path, page)
    return path


def _render(view: View, sections: Sequence[tuple[View, Section]]) -> str:
    """Returns the page of some sections, each with the view of its target."""
    environment = _templates()
    macros = environment.get_template("macros.html.j2").module
    parts = [
        {
            "name": section.anchor or section.name,
            "heading": section.heading,
            "html": environment.get_template(f"sections/{section.name}.html.j2").render(
                view=of_target, figures=section.figures, macros=macros, **section.context
            ),
        }
        for of_target, section in sections
    ]
    return environment.get_template("page.html.j2").render(
        view=view, sections=parts, outcome=outcome(view), colors=declarations()
    )


@functools.cache
def _templates() -> jinja2.Environment:
    """The templates of the page; each is compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("blear.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": format_number,
        "component": format_component,
        "duration": duration,
        "time": format_time,
        "pvalue": format_p_value,
    }
    return environment
