"""Mixtures that changed on the way (population-based training), as a schedule that a job can state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blear.errors import JobError

Lineage = list[tuple[int, dict[str, Any]]]
"""(step from which they hold, field -> weights), the first at step 0."""

_FIELD = ".factors"


def scheduled(lineage: Sequence[tuple[int, Mapping[str, Any]]], steps: int) -> dict[str, Any]:
    """Field of the job -> value: each mixture's `schedule`, a staircase over fractions of the stage's steps.

    Between two steps no sample is drawn, so the rise that the schedule has there is never seen.

    Raises:
        JobError: a field that is no mixture with a `schedule`.
    """
    found: dict[str, Any] = {}
    for path in lineage[0][1]:
        if not path.endswith(_FIELD):
            do = "search the `factors` of a scale_mix, or take another algorithm"
            raise JobError(f"{path} is no mixture that can change on the way", "search.space", do)
        stairs: dict[float, Any] = {}
        for number, (step, values) in enumerate(lineage):
            if number:
                stairs[(step - 0.5) / steps] = lineage[number - 1][1][path]
            stairs[step / steps] = values[path]
        found[path] = None
        found[path.removesuffix(_FIELD) + ".schedule"] = stairs
    return found


def extended(lineage: Lineage, step: int, values: dict[str, Any]) -> Lineage:
    """The lineage with other mixtures from a step on; nothing where they stay."""
    kept = [(at, held) for at, held in lineage if at < step]
    return kept if kept and kept[-1][1] == values else [*kept, (step, values)]
