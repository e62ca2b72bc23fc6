"""Mixtures that changed during training (population-based training), written as a schedule of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blear.errors import JobError

MixtureHistory = list[tuple[int, dict[str, Any]]]
"""(first step of the mixtures, job field -> weights), ordered by step; the first entry has step 0.

Example: [(0, {"stages.joint.degrade.0.factors": {"3": 1.0, "6": 0.0}}), (40, {...: {"3": 0.5, "6": 0.5}})].
"""

_FIELD = ".factors"


def to_schedule(history: Sequence[tuple[int, Mapping[str, Any]]], steps: int) -> dict[str, Any]:
    """The job fields that reproduce a history: `factors: null`, and a `schedule` with constant pieces.

    A schedule is linear between its points. Each change from step s - 1 to step s therefore gets two points, at steps
    s - 0.5 and s: no sample is drawn between them.

    Args:
        steps: steps of the stage; the schedule's points are fractions of them.

    Returns:
        Job field -> value.

    Raises:
        JobError: a field of the history is not the `factors` of a mixture.
    """
    fields: dict[str, Any] = {}
    for path in history[0][1]:
        if not path.endswith(_FIELD):
            do = "search the `factors` of a scale_mix, or choose another algorithm"
            raise JobError(f"{path} is not a mixture, so it cannot change during training", "search.space", do)
        points: dict[float, Any] = {}
        for number, (step, mixtures) in enumerate(history):
            if number:
                points[(step - 0.5) / steps] = history[number - 1][1][path]
            points[step / steps] = mixtures[path]
        fields[path] = None
        fields[path.removesuffix(_FIELD) + ".schedule"] = points
    return fields


def with_mixtures(history: MixtureHistory, step: int, mixtures: dict[str, Any]) -> MixtureHistory:
    """The history up to a step, followed by other mixtures from this step on.

    Entries from `step` on are replaced. Mixtures equal to the last remaining ones add no entry.
    """
    kept = [(first, earlier) for first, earlier in history if first < step]
    return kept if kept and kept[-1][1] == mixtures else [*kept, (step, mixtures)]
