"""The `search` section of a job as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from blear.plugin.uses import Positive, Scalar, StrictModel


class Dimension(StrictModel):
    """What one field of the job may be: one of these."""

    simplex: list[Scalar] | None = Field(
        None, min_length=2, description="keys of a mixture: their weights are a point drawn evenly from the simplex"
    )
    range: tuple[float, float] | None = Field(None, description="a number between two, each alike")
    log: tuple[float, float] | None = Field(None, description="a number between two, each magnitude alike")
    integer: tuple[int, int] | None = Field(None, description="a whole number from the first to the second")
    choice: list[Any] | None = Field(None, min_length=1, description="one of these values")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = self.model_dump(exclude_none=True)
        if len(given) != 1:
            raise ValueError("give one of simplex, range, log, integer, choice")
        for low, high in (pair for key, pair in given.items() if key in ("range", "log", "integer")):
            if low >= high or (self.log is not None and low <= 0):
                raise ValueError(f"[{low:g}, {high:g}] is no range; the smaller first, and above 0 where it is `log`")
        return self


class Objective(StrictModel):
    """One number from the robustness curve of the headline metric."""

    use: Literal["mean", "worst", "area", "weighted"] = Field(
        description="of all levels the mean or the worst; the area over the logarithm of severity; a weighted mean"
    )
    weights: dict[float, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="`weighted`: severity -> how often it occurs, as a bandwidth distribution says",
    )

    @model_validator(mode="after")
    def _weighted(self) -> Self:
        if (self.use == "weighted") != bool(self.weights) or (self.weights and not sum(self.weights.values()) > 0):
            raise ValueError("`weighted` needs weights above 0, the others take none")
        return self


class Search(StrictModel):
    """Many runs of the job, each with other values, by Ray Tune; the best one is reported on."""

    space: dict[str, Dimension] = Field(
        min_length=1, description="field of the job, as `--set` names it -> what it may be"
    )
    stage: str = Field(description="the stage whose curve is searched for; it and those that change are trained anew")
    split: str = Field(description="split whose curve decides; never that of `evaluate`")
    objective: list[Objective] = Field(
        [Objective(use="mean")], min_length=1, description="what is best; of several, a Pareto front"
    )
    algorithm: Literal["random", "tpe", "pbt"] = Field(
        "tpe",
        description="`random`; `tpe`: Optuna's; `pbt`: a population that copies its best and changes its mixtures as "
        "it trains, so that the best is a schedule of mixtures",
    )
    scheduler: Literal["none", "asha", "hyperband"] = Field(
        "none", description="what ends trials that fall behind, at every `report_every` steps"
    )
    report_every: Positive | None = Field(None, description="steps of `stage` between two looks at a trial's curve")
    trials: Positive = Field(16, description="trials; of `pbt`, the population")
    hours: float | None = Field(None, gt=0, description="no new trial after this time, and none goes on")
    gpu_hours: float | None = Field(None, gt=0, description="the same of the trials' time on GPUs together")
    concurrent: Positive | None = Field(None, description="trials at a time; null: as many as the cluster has room for")
    cpus: float = Field(1, gt=0, description="logical CPUs of a trial")
    gpus: float = Field(0, ge=0, description="GPUs of a trial; a fraction shares one")
    baselines: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="label -> field: value; trained alike, not chosen, reported beside the best"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        looks = self.scheduler != "none" or self.algorithm == "pbt"
        if looks and self.report_every is None:
            raise ValueError("a scheduler, and pbt, need report_every")
        if looks and len(self.objective) > 1:
            raise ValueError("a scheduler, and pbt, follow one objective")
        if self.scheduler == "hyperband" and self.concurrent is not None:
            raise ValueError(
                "trials of hyperband wait for each other, so many run at once as fit; leave concurrent out"
            )
        if self.algorithm == "pbt" and self.scheduler != "none":
            raise ValueError("pbt is its own scheduler; leave scheduler out")
        if self.algorithm == "pbt" and any(dimension.simplex is None for dimension in self.space.values()):
            raise ValueError("pbt changes mixtures on the way; its space takes `simplex` only")
        if "best" in self.baselines:
            raise ValueError("the label `best` is that of the best trial")
        return self
