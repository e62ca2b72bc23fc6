"""The contents of search.json: every trial with its values and curve, the best trial, the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blear.errors import RunError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Trial(_Section):
    """One trial, or one baseline."""

    name: str = Field(description="folder below trials/; of a baseline, its label")
    values: dict[str, Any] = Field(description="field of the job -> value")
    objectives: dict[str, float] = Field(description="name -> value, higher is better; empty for a trial that failed")
    curve: list[tuple[str, float, float]] = Field(description="condition, severity, metric of the first objective")
    looks: list[tuple[int, float]] = Field(description="step and first objective of each evaluation during training")
    steps: int = Field(description="training steps")
    seconds: float = Field(description="duration of the trial")
    error: str | None = Field(None, description="error message; null: the trial did not fail")
    whole: bool = Field(
        True, description="whether the trial completed; false: it failed, or a scheduler or the budget stopped it"
    )


class SearchResults(_Section):
    """The results of a search."""

    objectives: list[str] = Field(description="names of the objectives; the first one ranks the trials")
    metric: str = Field(description="label of the metric of the first objective")
    split: str = Field(description="split that the objectives are computed on")
    algorithm: str = Field(description="search algorithm")
    asked: int = Field(description="number of trials in the job")
    trials: list[Trial] = Field(description="the trials, ordered by their start")
    best: str | None = Field(description="name of the best trial; null: no trial completed")
    pareto: list[str] = Field(description="names of the trials on the Pareto front of all objectives")
    importance: dict[str, float] = Field(
        description="dimension -> share of the objective's variance; empty: too few trials"
    )
    baselines: list[Trial] = Field(description="the baselines, trained like the trials; `name` is the label")
    seconds: float = Field(description="duration of the search so far")

    def trial(self, name: str | None) -> Trial | None:
        """The trial with a name; None where there is none."""
        return next((trial for trial in self.trials if trial.name == name), None)


def pareto(trials: list[Trial], names: list[str]) -> list[str]:
    """Names of the trials on the Pareto front.

    A trial is dominated where another trial is at least as good in every objective and better in one.

    Args:
        names: the objectives; higher is better.
    """
    finished = [(trial.name, [trial.objectives[name] for name in names]) for trial in trials if trial.objectives]

    def dominated(own: list[float]) -> bool:
        return any(all(o >= m for o, m in zip(other, own, strict=True)) and other != own for _, other in finished)

    return [name for name, own in finished if not dominated(own)]


def read_results(path: Path) -> SearchResults:
    """Reads the search.json of a run.

    Raises:
        RunError: the file is missing or damaged.
    """
    if not path.is_file():
        raise RunError("there is no search here yet", str(path), "run the job first")
    try:
        return SearchResults.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RunError(f"damaged: {error.errors()[0]['msg']}", str(path), "run the job again") from error
