"""The whole job file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from blear.job.schema.cluster import Cluster
from blear.job.schema.data import Data
from blear.job.schema.evaluate import Evaluate
from blear.job.schema.search import Search
from blear.job.schema.stages import Stage
from blear.plugin.uses import DegradationUse, StrictModel, degradations_of

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Job(StrictModel):
    """A job file: data, stages, evaluation, search and cluster."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="name of the run and of its folder")
    description: str = Field("", description="one paragraph for the report")
    seed: Seed = Field(0, description="seed of initialisation, sample order, degradations and procedural data")
    seeds: list[Seed] | None = Field(
        None,
        min_length=2,
        description="train each stage once with each of these seeds; results are means over the seeds, and intervals "
        "and tests contain the chance of training. Data and evaluation keep `seed`. null: one training, with `seed`",
    )
    plugins: list[str] = Field(default_factory=list, description="paths of one-file plugins, relative to the job file")
    data: dict[str, Data] = Field(min_length=1, description="name -> data")
    stages: dict[str, Stage] = Field(min_length=1, description="name -> stage; stages are trained in this order")
    evaluate: Evaluate | None = Field(None, description="the evaluation after the last stage; null: none")
    search: Search | None = Field(None, description="a search over values of the job; null: one run")
    max_broken: int = Field(
        0, ge=0, description="largest number of undecodable samples in a split before the job stops"
    )
    cluster: Cluster = Field(default_factory=Cluster, description="resources of the job")
    trackers: list[Literal["tensorboard", "mlflow"]] = Field(
        ["tensorboard"],
        description="experiment trackers for training metrics, in addition to log.jsonl; `mlflow` needs blear[mlflow]",
    )
    profiles: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="name -> overrides as {path: value}, applied by `--profile`; `*` in a path matches every key",
    )

    @model_validator(mode="after")
    def _different_seeds(self) -> Self:
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("`seeds` names a seed twice")
        if self.seeds is not None and self.search is not None:
            raise ValueError("a search has one seed; leave `seeds` out, and train best.yaml with several")
        return self

    @property
    def used_data(self) -> dict[str, Data]:
        """name -> data that a stage or the evaluation reads."""
        used = {name for stage in self.stages.values() for name in (stage.data, stage.validation_data)}
        used |= {self.evaluate.data} if self.evaluate and self.evaluate.data else set()
        return {name: data for name, data in self.data.items() if name in used}

    @property
    def degradations(self) -> list[DegradationUse]:
        """All degradations of the data, the stages, and before and after swept ones, those in groups included."""
        lists = [entries for data in self.data.values() for entries in (data.degrade_once, *data.extra)]
        lists += [entries for stage in self.stages.values() for entries in (stage.augment, stage.degrade)]
        sweeps = self.evaluate.sweeps.values() if self.evaluate is not None else ()
        lists += [entries for sweep in sweeps for entries in (sweep.before, sweep.after)]
        return [use for entries in lists for use in degradations_of(entries)]
