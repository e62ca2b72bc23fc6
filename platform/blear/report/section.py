"""What a section of the page is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blear.report.figure import Figure


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Attributes:
        name: of its template `sections/NAME.html.j2`, and of its anchor.
        facts: what the template sees beside `view` and `figures`.
    """

    name: str
    heading: str
    figures: Sequence[Figure] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
