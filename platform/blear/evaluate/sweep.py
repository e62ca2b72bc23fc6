"""The conditions of an evaluation: one degradation at each of its levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blear.contracts import BuildContext
from blear.errors import JobError
from blear.job import Evaluate
from blear.plugins import Catalog


@dataclass(frozen=True)
class Level:
    """One condition: the swept parameter's value, and the degradation's parameters with it."""

    parameter: str
    severity: float
    params: Mapping[str, Any]

    def fill(self, stage: str) -> str:
        """A stage's name with `{parameter}` replaced by the value: the expert for this level."""
        value = int(self.severity) if self.severity == int(self.severity) else self.severity
        return stage.replace(f"{{{self.parameter}}}", str(value))


def levels(evaluate: Evaluate, catalog: Catalog, context: BuildContext) -> list[Level]:
    """The levels that the job names, or else those of the degradation itself.

    Raises:
        JobError: the degradation's own levels differ in more than one parameter.
    """
    sweep = evaluate.sweep
    if sweep.over is not None:
        ((parameter, values),) = sweep.over.items()
        return [Level(parameter, value, sweep.params | {parameter: value}) for value in values]
    own = catalog.get("degradation", sweep.use).build(sweep.params, context).levels()
    varied = {key for level in own for key in level if any(other.get(key) != level[key] for other in own)}
    if len(varied) != 1:
        raise JobError(
            f"{sweep.use} names no single swept parameter", "evaluate.sweep", "add over: {PARAMETER: [values]}"
        )
    (parameter,) = varied
    return [Level(parameter, float(level[parameter]), sweep.params | dict(level)) for level in own]
