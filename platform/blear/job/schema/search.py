"""The `search` section of a job."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from blear.plugin.uses import Positive, Scalar, StrictModel


class Dimension(StrictModel):
    """The search space of one field of the job. Exactly one key is given."""

    simplex: list[Scalar] | None = Field(
        None, min_length=2, description="keys of a mixture, whose weights are drawn uniformly from the simplex"
    )
    range: tuple[float, float] | None = Field(None, description="[low, high]: a number, drawn uniformly")
    log: tuple[float, float] | None = Field(None, description="[low, high]: a number, drawn log-uniformly")
    integer: tuple[int, int] | None = Field(None, description="[low, high]: an integer, both ends included")
    choice: list[Any] | None = Field(None, min_length=1, description="one of these values")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = self.model_dump(exclude_none=True)
        if len(given) != 1:
            raise ValueError("give one of simplex, range, log, integer, choice")
        for low, high in (pair for key, pair in given.items() if key in ("range", "log", "integer")):
            if low >= high or (self.log is not None and low <= 0):
                raise ValueError(
                    f"[{low:g}, {high:g}] is no range; give the smaller number first, and for `log` numbers above 0"
                )
        return self


class Objective(StrictModel):
    """An objective: one number from the robustness curve (a metric against severity)."""

    use: Literal["mean", "worst", "area", "weighted"] = Field(
        description="`mean` or `worst` of all levels; `area` under the curve over the logarithm of severity; "
        "`weighted` mean"
    )
    weights: dict[float, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="`weighted`: severity -> weight, for instance its frequency in a distribution of bandwidths",
    )
    metric: str | None = Field(
        None, description="a metric of the stage, as `metric` or `target.metric`; null: its headline metric"
    )

    @model_validator(mode="after")
    def _weighted(self) -> Self:
        if (self.use == "weighted") != bool(self.weights) or (self.weights and not sum(self.weights.values()) > 0):
            raise ValueError("`weighted` needs weights above 0, and the other objectives have none")
        return self


class Search(StrictModel):
    """A search with Ray Tune: trials of the job with different values. The best trial is evaluated and reported."""

    space: dict[str, Dimension] = Field(min_length=1, description="path of a field, as in `--set` -> its search space")
    stage: str = Field(
        description="the stage that is optimized; each trial trains this stage and every stage that the space changes"
    )
    split: str = Field(description="split on which objectives are computed; must differ from the split of `evaluate`")
    objective: list[Objective] = Field(
        [Objective(use="mean")], min_length=1, description="objectives; several give a Pareto front"
    )
    algorithm: Literal["random", "tpe", "pbt"] = Field(
        "tpe",
        description="`random`; `tpe`: Optuna's TPE; `pbt`: population-based training, which changes mixtures during "
        "training, "
        "so that the result is a schedule of mixtures",
    )
    scheduler: Literal["none", "asha", "hyperband"] = Field(
        "none", description="scheduler that stops bad trials early, at every `report_every` steps"
    )
    report_every: Positive | None = Field(None, description="steps of `stage` between two evaluations of the objective")
    trials: Positive = Field(16, description="number of trials; with `pbt`, size of the population")
    hours: float | None = Field(None, gt=0, description="time limit in hours, after which all trials stop")
    gpu_hours: float | None = Field(None, gt=0, description="limit of the GPU time of all trials together, in hours")
    concurrent: Positive | None = Field(
        None, description="largest number of concurrent trials; null: as many as fit on the cluster"
    )
    cpus: float = Field(1, gt=0, description="logical CPUs of a trial")
    gpus: float = Field(0, ge=0, description="GPUs of a trial; a fraction shares one")
    baselines: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="label -> {path: value}; additional runs that are trained alike and reported beside the best trial",
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        looks = self.scheduler != "none" or self.algorithm == "pbt"
        if looks and self.report_every is None:
            raise ValueError("schedulers and pbt need report_every")
        if looks and len(self.objective) > 1:
            raise ValueError("schedulers and pbt need exactly one objective")
        if self.scheduler == "hyperband" and self.concurrent is not None:
            raise ValueError("trials of hyperband wait for each other and must run at the same time; remove concurrent")
        if self.algorithm == "pbt" and self.scheduler != "none":
            raise ValueError("pbt has its own scheduler; remove scheduler")
        if self.algorithm == "pbt" and any(dimension.simplex is None for dimension in self.space.values()):
            raise ValueError("pbt changes mixtures during training; its space must contain `simplex` only")
        if "best" in self.baselines:
            raise ValueError("the label `best` is reserved for the best trial")
        return self
