"""The job file as pydantic models, and its JSON schema for editors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blear.data.orders.order import WINDOW
from blear.plugins import Catalog, Registered

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Matrix = Annotated[
    dict[str, list[int | float | str]] | None,
    Field(description="makes one entry for each combination; `{key}` in the entry's name and values is replaced"),
]


class Strict(BaseModel):
    """A section of the job: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Use(BaseModel):
    """A component by name; every other key is a parameter of it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    use: str = Field(description="name of the component: `plugin/component`, or `component` while that is unique")

    @property
    def params(self) -> dict[str, Any]:
        """The component's own keys."""
        return dict(self.model_extra or {})


class DatasetUse(Use):
    """A dataset."""


class DegradationUse(Use):
    """A degradation."""


class HeadUse(Use):
    """A head."""


class StandIn(DatasetUse):
    """A dataset that needs no raw data, and what makes its samples like those it stands in for, in training."""

    augment: list[DegradationUse] = Field(default_factory=list, description="goes before the stage's own `augment`")
    degrade: list[DegradationUse] = Field(default_factory=list, description="goes before the stage's own `degrade`")


class Data(DatasetUse):
    """Named data: a dataset with its raw source, and what stands in for it while there is no source."""

    source: str | None = Field(None, description="path of the raw data as its users receive it")
    shards: str | None = Field(
        None, description="folder or URL (http, https, s3, gs) of prepared shards of `use`; nothing is prepared then"
    )
    stand_in: StandIn | None = Field(None, description="the dataset that is used while `source` and `shards` are null")
    matrix: Matrix = None

    @property
    def stands_in(self) -> bool:
        """Whether the stand-in is used."""
        return self.source is None and self.shards is None and self.stand_in is not None

    @property
    def extra(self) -> tuple[list[DegradationUse], list[DegradationUse]]:
        """The stand-in's own (augment, degrade) while it is used."""
        return (self.stand_in.augment, self.stand_in.degrade) if self.stands_in and self.stand_in else ([], [])

    @property
    def chosen(self) -> tuple[str, dict[str, Any]]:
        """Component name and parameters of the dataset that is really read."""
        if self.stands_in and self.stand_in is not None:
            return self.stand_in.use, self.stand_in.params
        return self.use, self.params | ({} if self.source is None else {"source": self.source})


class StartFrom(Strict):
    """Weights taken from an earlier stage, by parameter name and shape."""

    stage: str = Field(description="an earlier stage of this job")
    take: list[str] = Field(["*"], description="backbone parts or parameters to take: `conv1`, `conv*.weight`, ...")


class BackboneUse(Use):
    """A backbone, from scratch or from an earlier stage."""

    start_from: StartFrom | None = Field(None, description="where its first weights come from; null: initialised")


class Optimizer(Strict):
    """Gradient descent and its learning rate."""

    use: Literal["sgd", "adamw"] = Field("sgd", description="`sgd` with momentum, or `adamw`")
    lr: float = Field(gt=0, description="base learning rate: what the schedule and the multipliers scale")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of `sgd`")
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.999), description="decay of the two moments of `adamw`")
    weight_decay: float = Field(
        0.0, ge=0, description="`sgd`: L2 penalty; `adamw`: decoupled decay; acts on weights and biases"
    )
    schedule: Literal["fixed", "step", "cosine", "one_cycle"] = Field(
        "fixed", description="how the learning rate goes over the steps after the warm-up"
    )
    warmup: int = Field(0, ge=0, description="first steps, in which the rate rises in a line from 0 to `lr`")
    drop_every: Positive | None = Field(None, description="`step`: steps between two drops")
    drop_by: float = Field(0.1, gt=0, le=1, description="`step`: what the rate is multiplied by at a drop")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient; null: not clipped")
    scale_lr: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="parameter name pattern -> learning-rate multiplier; the first match counts; 0 freezes",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.schedule == "step" and self.drop_every is None:
            raise ValueError("schedule `step` needs drop_every")
        if self.schedule == "one_cycle" and self.warmup:
            raise ValueError("schedule `one_cycle` warms up by itself; leave warmup out")
        return self


class Validate(Strict):
    """Held-out data while training."""

    every: Positive = Field(description="steps between two validations")
    split: str = Field("dev", description="split")
    batches: Positive = Field(100, description="batches at most")
    metric: str = Field("loss", description="what decides which model is best: `loss`, or a metric of the head")
    keep: Literal["last", "best"] = Field("last", description="the weights that the stage ends with")
    patience: Positive | None = Field(
        None, description="stop after this many validations that are not better than the best one; null: never"
    )


class Stage(Strict):
    """One training run: data, degradations, backbone, head, optimizer."""

    data: str = Field(description="name of an entry of `data`")
    split: str | None = Field(None, description="split to train on; null: the dataset's first")
    augment: list[DegradationUse] = Field(
        default_factory=list, description="operations on the clean frames, before `degrade`; restoration targets follow"
    )
    degrade: list[DegradationUse] = Field(default_factory=list, description="degradations, in order")
    backbone: BackboneUse = Field(description="the backbone")
    head: HeadUse = Field(description="the head")
    optimizer: Optimizer = Field(description="the optimizer")
    steps: Positive = Field(description="optimizer steps")
    batch_size: Positive = Field(128, description="clips of one step, over all workers together")
    shuffle_window: Positive = Field(
        WINDOW,
        description="a split up to this many samples is shuffled whole; a larger one in blocks of 1,000 consecutive "
        "samples, mixed in windows of at most this many, and of at most 128 blocks, so that reads stay local",
    )
    log_every: Positive = Field(50, description="steps between two log lines")
    checkpoint_every: Positive = Field(1000, description="steps between two checkpoints")
    accumulate: Positive = Field(1, description="micro-batches that a worker makes of its part of a batch")
    ema: Fraction | None = Field(
        None, description="decay of an exponential moving average of the weights, which is validated and kept"
    )
    profile_steps: tuple[Positive, Positive] | None = Field(
        None, description="first and last step (from 1) of a profiler trace, trace.json in the stage's folder"
    )
    audit: bool = Field(False, description="write which samples each step used, samples/*.jsonl in the stage's folder")
    validate_: Validate | None = Field(None, alias="validate", description="validation while training")
    matrix: Matrix = None


class Sweep(DegradationUse):
    """A degradation to test under, at each value of one of its parameters."""

    over: dict[str, list[float]] | None = Field(
        None, description="the parameter and its values; null: the levels that the degradation itself names"
    )


class Arm(Strict):
    """One curve of the report: a trained stage, or a family of stages with one for each level."""

    stage: str = Field(
        description="a stage; `{factor}` in it is replaced by the swept value: one expert for each level"
    )
    restore: str | None = Field(None, description="a restoration stage whose image is fed to `stage`")
    clean: bool = Field(False, description="tested on clean frames at every level: an upper bound")
    note: str = Field("", description="what this arm is, one sentence")


class Evaluate(Strict):
    """What is tested, on what, and against what."""

    split: str = Field("dev", description="split")
    data: str | None = Field(None, description="an entry of `data`; null: that of each arm's stage")
    sweep: Sweep = Field(description="the degradation that is swept")
    arms: dict[str, Arm] = Field(description="label -> arm; the first is the one that the others are compared with")
    batch_size: Positive = Field(256, description="clips of one forward pass")
    resamples: Positive = Field(1000, description="bootstrap resamples")
    faces: int = Field(6, ge=0, description="sample faces in the report")


class Cluster(Strict):
    """What the job runs on."""

    workers: Positive | tuple[Positive, Positive] = Field(1, description="workers of a stage; [min, max] is elastic")
    cpus_per_worker: float = Field(1, gt=0, description="logical CPUs that each worker reserves")
    gpu: Literal["auto"] | bool = Field("auto", description="a GPU for each worker; auto: where there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU")
    channels_last: bool = Field(False, description="weights of convolutions in channels-last order")
    compile: bool = Field(False, description="torch.compile of the model")
    stall_s: float = Field(600, gt=0, description="seconds without data or the other workers before a run stops")
    failures: int = Field(
        3, ge=-1, description="how often a stage is restarted after a lost worker, pre-emptions not counted; -1: always"
    )
    cache_gb: float | None = Field(
        None, ge=0, description="10^9 bytes of decoded shards kept on each machine; null: 80 % of what the disk has"
    )
    resize_s: float = Field(60, ge=0, description="elastic workers: seconds between two looks for nodes that joined")


class Job(Strict):
    """A job file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="name of the run folder")
    description: str = Field("", description="one paragraph for the report")
    seed: int = Field(
        0, ge=0, lt=2**31, description="seed of initialisation, order, degradation draws and procedural data"
    )
    plugins: list[str] = Field(default_factory=list, description="one-file plugins, relative to the job file")
    data: dict[str, Data] = Field(min_length=1, description="named data")
    stages: dict[str, Stage] = Field(min_length=1, description="stages, in order")
    evaluate: Evaluate | None = Field(None, description="the evaluation after the last stage")
    max_broken: int = Field(0, ge=0, description="undecodable samples tolerated in a split before the job stops")
    cluster: Cluster = Field(default_factory=Cluster, description="what the job runs on")
    trackers: list[Literal["tensorboard", "mlflow"]] = Field(
        ["tensorboard"], description="where training metrics go beside log.jsonl; `mlflow` needs blear[mlflow]"
    )
    profiles: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="named sets of overrides, `path: value`; `*` in a path is every key"
    )


_SLOT_OF = {
    "Data": "dataset",
    "StandIn": "dataset",
    "DegradationUse": "degradation",
    "Sweep": "degradation",
    "BackboneUse": "backbone",
    "HeadUse": "head",
}
_PLACEHOLDER = {"type": "string", "pattern": r"^\{\w+\}$", "description": "a value of the entry's matrix"}


def json_schema(catalog: Catalog) -> dict[str, Any]:
    """JSON schema of a job file with the parameters of every component that is installed."""
    schema = Job.model_json_schema()
    definitions = schema["$defs"]
    for name, slot in _SLOT_OF.items():
        base = definitions[name]
        shared = {key: value for key, value in base["properties"].items() if key != "use"}
        choices = [
            _choice(catalog, registered, shared, definitions) for registered in catalog.components[slot].values()
        ]
        definitions[name] = {"description": base["description"], "oneOf": choices}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def _choice(
    catalog: Catalog, registered: Registered, shared: dict[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    """Schema of one component's use; its nested models go into the definitions."""
    prefix, short = registered.name.replace("/", "."), registered.name.split("/")[1]
    own = registered.component.params.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    definitions |= {f"{prefix}.{key}": value for key, value in own.get("$defs", {}).items()}
    unique = sum(full.endswith(f"/{short}") for full in catalog.components[registered.slot]) == 1
    # a source may be missing while a stand-in is used, and a swept parameter is named by `over`
    required = [key for key in own.get("required", []) if not ({"source", "over"} & shared.keys())]
    properties = {key: {"anyOf": [field, _PLACEHOLDER]} for key, field in own.get("properties", {}).items()}
    return {
        "title": registered.name,
        "description": registered.component.summary,
        "type": "object",
        "properties": properties
        | shared
        | {"use": {"enum": [registered.name, short] if unique else [registered.name]}},
        "required": ["use", *required],
        "additionalProperties": False,
    }
