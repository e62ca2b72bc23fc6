"""The output of a section module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from blear.report.figure import Figure, slug


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        name: name of the template `sections/NAME.html.j2`, and of the anchor unless that is given.
        heading: shown above the section and in the navigation.
        figures: in the order in which the template shows them.
        context: variables of the template beside `view` and `figures`.
        anchor: id of the section on the page; empty: its name.
    """

    name: str
    heading: str
    figures: Sequence[Figure] = ()
    context: Mapping[str, Any] = field(default_factory=dict)
    anchor: str = ""

    def of_target(self, target: str, *, is_first: bool) -> Section:
        """Returns the section with the target in its heading, for a page of several targets.

        Anchor and files of further targets have the target in front of their names, for instance `valence-robustness`.
        """
        heading = f"{self.heading}: {target}"
        if is_first:
            return replace(self, heading=heading)
        prefix = slug(target)
        figures = [
            replace(
                figure,
                name=f"{prefix}-{figure.name}",
                panels=[replace(panel, name=f"{prefix}-{panel.name}") for panel in figure.panels],
            )
            for figure in self.figures
        ]
        return replace(self, heading=heading, figures=figures, anchor=f"{prefix}-{self.name}")
