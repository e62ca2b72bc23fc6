"""The output of a section module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blear.report.figure import Figure


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        name: name of the template `sections/NAME.html.j2` and of the anchor.
        heading: shown above the section and in the navigation.
        figures: in the order in which the template shows them.
        context: variables of the template beside `view` and `figures`.
    """

    name: str
    heading: str
    figures: Sequence[Figure] = ()
    context: Mapping[str, Any] = field(default_factory=dict)
