"""What search.json holds: every trial with its values and curve, the best ones, the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blear.errors import RunError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Trial(_Part):
    """One point of the space."""

    name: str = Field(description="folder below trials/")
    values: dict[str, Any] = Field(description="field of the job -> value")
    objectives: dict[str, float] = Field(description="name -> value, the higher the better; empty where it failed")
    curve: list[tuple[str, float, float]] = Field(description="condition, severity, headline metric")
    looks: list[tuple[int, float]] = Field(description="step, first objective, at each look")
    steps: int = Field(description="steps that it made")
    seconds: float = Field(description="how long it took")
    error: str | None = Field(None, description="why it failed; null: it did not")
    whole: bool = Field(True, description="came to its end; false: it failed, fell behind or the budget was spent")


class SearchResults(_Part):
    """A search as a whole."""

    objectives: list[str] = Field(description="names, the one that decides first")
    metric: str = Field(description="label of the headline metric")
    split: str = Field(description="split that decided")
    algorithm: str = Field(description="how points were chosen")
    asked: int = Field(description="trials asked for")
    trials: list[Trial] = Field(description="in the order in which they began")
    best: str | None = Field(description="name of the best trial; null: none succeeded")
    pareto: list[str] = Field(description="trials that none beats in every objective")
    importance: dict[str, float] = Field(
        description="dimension -> share of the objective's variance; empty: too few trials"
    )
    baselines: list[Trial] = Field(description="trained alike, not chosen; `name` is the label")
    seconds: float = Field(description="of the search so far")

    def trial(self, name: str | None) -> Trial | None:
        """A trial by name."""
        return next((trial for trial in self.trials if trial.name == name), None)


def pareto(trials: list[Trial], names: list[str]) -> list[str]:
    """Names of the trials that no other one equals or beats in every objective, and beats in one."""
    done = [(trial.name, [trial.objectives[name] for name in names]) for trial in trials if trial.objectives]

    def beaten(mine: list[float]) -> bool:
        return any(all(o >= m for o, m in zip(other, mine, strict=True)) and other != mine for _, other in done)

    return [name for name, mine in done if not beaten(mine)]


def read_results(path: Path) -> SearchResults:
    """search.json of a run.

    Raises:
        RunError: missing or damaged.
    """
    if not path.is_file():
        raise RunError("there is no search here yet", str(path), "run the job first")
    try:
        return SearchResults.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RunError(f"damaged: {error.errors()[0]['msg']}", str(path), "run the job again") from error
