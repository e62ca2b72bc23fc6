"""The levels of an evaluation: each swept degradation at each of its severities, and clean frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blear.contracts import BuildContext
from blear.errors import JobError
from blear.job.schema import CLEAN, Evaluate, Sweep
from blear.plugin.catalog import Catalog
from blear.plugin.severity import severity_of, varied_parameters


@dataclass(frozen=True)
class Level:
    """One condition at one severity.

    Attributes:
        condition: label of the sweep, or "clean".
        use: name of the degradation; None: clean frames.
        parameter: name of the swept parameter.
        severity: value of the swept parameter.
        params: all parameters of the degradation, the swept one included.
    """

    condition: str
    use: str | None
    parameter: str
    severity: float
    params: Mapping[str, Any] = field(default_factory=dict)

    def format_stage(self, stage: str) -> str:
        """Replaces `{parameter}` and `{condition}` in a stage name, for example "lq_{factor}" -> "lq_4"."""
        if self.use is None:
            return stage
        value = int(self.severity) if self.severity == int(self.severity) else self.severity
        return stage.replace(f"{{{self.parameter}}}", str(value)).replace("{condition}", self.condition)


def levels(evaluate: Evaluate, catalog: Catalog, context: BuildContext) -> list[Level]:
    """Returns the levels of every sweep: those of the job, else those of the degradation; clean frames first.

    Raises:
        JobError: the degradation's own levels differ in more than one parameter, or in one that is no number.
    """
    clean = [Level(CLEAN, None, "", 0.0)] if evaluate.clean else []
    swept = [level for label, sweep in evaluate.sweeps.items() for level in _levels(label, sweep, catalog, context)]
    return clean + swept


def _levels(label: str, sweep: Sweep, catalog: Catalog, context: BuildContext) -> list[Level]:
    if sweep.over is not None:
        ((parameter, values),) = sweep.over.items()
        return [
            Level(label, sweep.use, parameter, severity_of(value), sweep.params | {parameter: value})
            for value in values
        ]
    own = catalog.get("degradation", sweep.use).build(sweep.params, context).levels()
    varied = varied_parameters(own)
    if len(varied) != 1:
        raise JobError(
            f"the levels of {sweep.use} do not differ in exactly one parameter",
            "evaluate.sweep",
            "add over: {PARAMETER: [values]}",
        )
    (parameter,) = varied
    try:
        severities = [severity_of(level[parameter]) for level in own]
    except ValueError as error:
        what = f"the levels of {sweep.use} are no severities: {parameter} {error}"
        raise JobError(what, "evaluate.sweep", "add over: {PARAMETER: [values]}") from error
    return [
        Level(label, sweep.use, parameter, severity, sweep.params | dict(level))
        for severity, level in zip(severities, own, strict=True)
    ]
