"""The output of a section module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from blear.report.figure import Figure


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

    def of_target(self, target: str, prefix: str) -> Section:
        """Returns the section with the target in its heading, for a page of several targets.

        Args:
            prefix: in front of the names of anchor and files, for instance `valence` of `valence-robustness`; empty:
                of the first target, whose names stay.
        """
        heading = f"{self.heading}: {target}"
        if not prefix:
            return replace(self, heading=heading)
        figures = [
            replace(
                figure,
                name=f"{prefix}-{figure.name}",
                panels=[replace(panel, name=f"{prefix}-{panel.name}") for panel in figure.panels],
            )
            for figure in self.figures
        ]
        return replace(self, heading=heading, figures=figures, anchor=f"{prefix}-{self.name}")
