"""The job file as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from blear.data.orders.order import WINDOW
from blear.search.section import Search
from blear.uses import Choice, DegradationUse, Entry, Positive, Strict, Use, leaves

Fraction = Annotated[float, Field(ge=0, lt=1)]
MOST_STARS = 3
Matrix = Annotated[
    dict[str, list[int | float | str]] | None,
    Field(description="makes one entry for each combination; `{key}` in the entry's name and values is replaced"),
]


class DatasetUse(Use):
    """A dataset."""


class HeadUse(Use):
    """A head."""


class DrawGroup(Strict):
    """Samples that are drawn together, with replacement, at a stated share."""

    share: float = Field(gt=0, le=1e9, description="how often the group is drawn, relative to all shares")
    where: dict[str, Choice | list[Choice]] = Field(
        default_factory=dict,
        description="a class target (by class name) or a column of `meta` -> the value or values that belong; "
        "empty: every sample",
    )
    even: str | None = Field(
        None, description="a class target or a column of `meta`, one of whose values in the group is drawn first"
    )


class StandIn(DatasetUse):
    """A dataset that needs no raw data, and what makes its samples like those it stands in for, in training."""

    draw: list[DrawGroup] | None = Field(None, description="takes the place of the stage's own `draw`; null: it stays")
    augment: list[Entry] = Field(default_factory=list, description="goes before the stage's own `augment`")
    degrade: list[Entry] = Field(default_factory=list, description="goes before the stage's own `degrade`")


class Data(DatasetUse):
    """Named data: a dataset with its raw source, and what stands in for it while there is no source."""

    source: str | None = Field(None, description="path of the raw data as its users receive it")
    shards: str | None = Field(
        None, description="folder or URL (http, https, s3, gs) of prepared shards of `use`; nothing is prepared then"
    )
    stand_in: StandIn | None = Field(None, description="the dataset that is used while `source` and `shards` are null")
    degrade_once: list[Entry] = Field(
        default_factory=list,
        description="degradations that act once, when shards are written, as real codecs may; the frames before them "
        "stay as clean ones, the rate as `kbps` in `meta`",
    )
    matrix: Matrix = None

    @model_validator(mode="after")
    def _written_here(self) -> Self:
        if self.shards is not None and self.degrade_once:
            raise ValueError("degrade_once acts when shards are written, but `shards` are there already; leave one out")
        return self

    @property
    def stands_in(self) -> bool:
        """Whether the stand-in is used."""
        return self.source is None and self.shards is None and self.stand_in is not None

    @property
    def extra(self) -> tuple[list[Entry], list[Entry]]:
        """The stand-in's own (augment, degrade) while it is used."""
        return (self.stand_in.augment, self.stand_in.degrade) if self.stands_in and self.stand_in else ([], [])

    def draw(self, stage: list[DrawGroup]) -> list[DrawGroup]:
        """The groups that are drawn from: the stage's, or those of the stand-in while it is used."""
        own = self.stand_in.draw if self.stands_in and self.stand_in else None
        return stage if own is None else own

    @property
    def chosen(self) -> tuple[str, dict[str, Any]]:
        """Component name and parameters of the dataset that is really read."""
        if self.stands_in and self.stand_in is not None:
            return self.stand_in.use, self.stand_in.params
        return self.use, self.params | ({} if self.source is None else {"source": self.source})


class StartFrom(Strict):
    """Weights taken from an earlier stage or from a file, by parameter name and shape."""

    stage: str | None = Field(None, description="an earlier stage of this job")
    file: str | None = Field(
        "", description="a file of weights, relative to the job file, never executed; null: not there yet, initialised"
    )
    format: Literal["auto", "safetensors", "torch", "caffemodel"] = Field(
        "auto", description="of `file`; auto: by its first bytes"
    )
    layout: Literal["rows", "matlab"] = Field(
        "rows", description="of `file`; matlab: trained on transposed pictures, so that rows and columns are exchanged"
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="of `file`; another file is refused; null: the run notes it"
    )
    take: list[str] = Field(["*"], description="backbone parts or parameters to take: `conv1`, `conv*.weight`, ...")
    rename: dict[str, str] = Field(
        default_factory=dict,
        description="pattern of a name there -> the backbone's name; the first match counts; each `*` of the new name "
        "is what that `*` of the pattern stood for",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.stage is None) == (self.file == ""):
            raise ValueError("give `stage` or `file`, one of them")
        if self.stage is not None and {"format", "layout", "sha256"} & self.model_fields_set:
            raise ValueError("format, layout and sha256 belong to `file`")
        for pattern, name in self.rename.items():
            if name.count("*") > pattern.count("*") or pattern.count("*") > MOST_STARS:
                raise ValueError(
                    f"rename {pattern!r}: at most {MOST_STARS} `*`, and in the new name no more than in the pattern"
                )
        return self


class BackboneUse(Use):
    """A backbone, from scratch, from an earlier stage or from a file."""

    start_from: StartFrom | None = Field(None, description="where its first weights come from; null: initialised")


class Optimizer(Strict):
    """Gradient descent and its learning rate."""

    use: Literal["sgd", "adam", "adamw"] = Field("sgd", description="`sgd` with momentum, `adam` or `adamw`")
    lr: float = Field(gt=0, description="base learning rate: what the schedule and the multipliers scale")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of `sgd`")
    nesterov: bool = Field(False, description="`sgd`: Nesterov's momentum")
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.999), description="decay of the two moments of `adam`, `adamw`")
    amsgrad: bool = Field(False, description="`adam`, `adamw`: divide by the largest second moment so far")
    weight_decay: float = Field(
        0.0, ge=0, description="`sgd`, `adam`: L2 penalty; `adamw`: decoupled decay; acts on weights and biases"
    )
    no_decay: list[str] = Field(
        default_factory=list, description="patterns of parameter names that `weight_decay` leaves alone"
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
        if self.nesterov and (self.use != "sgd" or not self.momentum):
            raise ValueError("nesterov needs `sgd` with a momentum above 0")
        if self.amsgrad and self.use == "sgd":
            raise ValueError("amsgrad needs `adam` or `adamw`")
        if self.no_decay and not self.weight_decay:
            raise ValueError("no_decay needs a weight_decay above 0")
        return self


class Frames(Strict):
    """Which frames of a clip training sees."""

    take: Positive = Field(description="frames of every clip; a shorter one gives all of its, the last one repeated")
    pick: Literal["random", "even", "first"] = Field(
        "random",
        description="`random`: distinct ones in order, drawn anew in each epoch; `even`: spread over the clip; "
        "validation, and evaluation without windows, are always `even`",
    )


class Windows(Strict):
    """Long clips are tested in windows of consecutive frames, whose decisions are pooled."""

    length: Positive = Field(description="frames of a window; a shorter clip is one window, its last frame repeated")
    stride: Positive = Field(description="frames between the beginnings of two windows; windows fit entirely")


class Validate(Strict):
    """Held-out data while training."""

    every: Positive = Field(description="steps between two validations")
    split: str = Field("dev", description="split")
    batches: Positive = Field(100, description="batches at most")
    metric: str = Field(
        "loss",
        description="what decides which model is best: `loss`, or a metric of the head, which is then logged for the "
        "training batches of each log line too, as `training_<metric>`",
    )
    keep: Literal["last", "best"] = Field("last", description="the weights that the stage ends with")
    patience: Positive | None = Field(
        None, description="stop after this many validations that are not better than the best one; null: never"
    )


class Stage(Strict):
    """One training run: data, degradations, backbone, head, optimizer."""

    data: str = Field(description="name of an entry of `data`")
    split: str | None = Field(None, description="split to train on; null: the dataset's first")
    draw: list[DrawGroup] = Field(
        default_factory=list,
        description="groups of samples, drawn with replacement at their shares; empty: every sample once in an epoch",
    )
    frames: Frames | None = Field(None, description="which frames of each clip are used; null: all of them")
    augment: list[Entry] = Field(
        default_factory=list, description="operations on the clean frames, before `degrade`; restoration targets follow"
    )
    degrade: list[Entry] = Field(default_factory=list, description="degradations, in order")
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

    def logged(self, done: int) -> bool:
        """Whether a line is logged after so many steps."""
        return done % self.log_every == 0 or done == self.steps


class Sweep(Use):
    """A degradation to test under, at each value of one of its parameters."""

    over: dict[str, list[float]] | None = Field(
        None, description="the parameter and its values; null: the levels that the degradation itself names"
    )
    before: list[Entry] = Field(
        default_factory=list, description="degradations before the swept one, at every level of it"
    )
    after: list[Entry] = Field(default_factory=list, description="degradations after the swept one, at every level")
    label: str | None = Field(
        None,
        min_length=1,
        description="the condition's name in tables; null: the component's, numbered where it repeats",
    )
    group: dict[str, str | int | float] = Field(
        default_factory=dict,
        description="what this sweep shares with others; with `codec`, rates and metric are points of its "
        "rate-accuracy curve, other keys naming the curve: {codec: h264, shrink: 2}; with "
        "`flips: previous`, or `first` of noise, the rate is counted at which decisions flip within clips",
    )


CLEAN = "clean"
"""The condition of frames that no sweep touched."""


def _many(sweep: Any) -> str:
    return "list" if isinstance(sweep, list) else "one"


class Arm(Strict):
    """One curve of the report: a trained stage, or a family of stages with one for each level."""

    stage: str = Field(
        description="a stage; `{factor}` in it is replaced by the swept value, `{condition}` by the sweep's label: one "
        "expert for each level of the sweeps that have such stages"
    )
    restore: str | None = Field(None, description="a restoration stage whose image is fed to `stage`")
    clean: bool = Field(False, description="tested on clean frames at every level: an upper bound")
    note: str = Field("", description="what this arm is, one sentence")


class Pool(Strict):
    """One decision of several rows: the frames of a video, or the windows of a clip."""

    by: Literal["sample", "video"] = Field("sample", description="whose rows make one decision")
    score: Literal["mean_logits", "sum_probabilities"] = Field(
        "mean_logits", description="how probabilities are pooled, over the rows with a found face; values: their mean"
    )


class Equivalent(Strict):
    """Two arms that should do alike: two one-sided tests at 5 %."""

    margin: float = Field(gt=0, description="differences of the headline metric below this do not matter")
    of: str = Field(description="label of the arm that should do as well, as one model for all levels")
    against: str = Field(description="label of the arm that it should equal, as the experts of each level")


class Evaluate(Strict):
    """What is tested, on what, and against what."""

    split: str = Field("dev", description="split")
    data: str | None = Field(None, description="an entry of `data`; null: that of each arm's stage")
    shares_validation: bool = Field(
        False, description="whether weights may be chosen on the split that is reported on, as where a set has no third"
    )
    sweep: Annotated[
        Annotated[Sweep, Tag("one")] | Annotated[list[Sweep], Tag("list"), Field(min_length=1)], Discriminator(_many)
    ] = Field(description="the degradation that is swept, or several: each is a condition of its own")
    clean: bool = Field(False, description="every arm is tested on untouched frames too, as the condition `clean`")
    arms: dict[str, Arm] = Field(description="label -> arm; the first is the one that the others are compared with")
    batch_size: Positive = Field(256, description="clips of one forward pass")
    windows: Windows | None = Field(None, description="windows that each clip is tested in; null: one pass for a clip")
    pool: Pool | None = Field(
        None, description="what one decision is made of; null: every row is one; with windows, those of a clip"
    )
    without_face: Literal["missed", "prior"] = Field(
        "missed",
        description="decisions without a face, which a second table counts: `missed` as wrong, `prior` as the class "
        "that is most frequent where the stage was trained",
    )
    resamples: Positive = Field(1000, description="bootstrap resamples")
    faces: int = Field(6, ge=0, description="sample faces in the report")
    equivalence: list[Equivalent] = Field(default_factory=list, description="arms that are tested for equivalence")
    temperature: str | None = Field(
        None,
        description="a validation split, not that reported on: there each model's temperature is fitted, of classes",
    )
    slices: list[str] = Field(
        default_factory=list,
        description="columns of the samples' metadata, or subject, video, truth: the headline metric for each value",
    )
    mce: str | dict[str, dict[float, float]] | None = Field(
        None,
        description="what mean corruption error is relative to: an arm; a CSV of condition, severity, error, its path "
        "relative to the job file, kept in the run's job; or these as `condition: {severity: error}`",
    )

    @property
    def sweeps(self) -> dict[str, Sweep]:
        """Condition -> sweep; a sweep without a label has its component's name, numbered where that repeats."""
        sweeps = self.sweep if isinstance(self.sweep, list) else [self.sweep]
        taken = {sweep.label for sweep in sweeps if sweep.label is not None} | {CLEAN}
        named: dict[str, Sweep] = {}
        for sweep in sweeps:
            label, number = sweep.label or sweep.use, 1
            while sweep.label is None and label in taken:
                number += 1
                label = f"{sweep.use} {number}"
            taken.add(label)
            named[label] = sweep
        return named

    @model_validator(mode="after")
    def _labels(self) -> Self:
        labels = [sweep.label for sweep in (self.sweep if isinstance(self.sweep, list) else [self.sweep])]
        twice = {label for label in labels if label is not None and labels.count(label) > 1}
        if twice:
            raise ValueError(f"two sweeps have the label {sorted(twice)[0]!r}")
        if CLEAN in labels:
            raise ValueError(f"the label {CLEAN!r} is that of untouched frames (`clean: true`)")
        if self.temperature == self.split:
            raise ValueError(f"temperature is fitted on {self.split!r}, which is reported on; name another split")
        named = {label for pair in self.equivalence for label in (pair.of, pair.against)}
        named |= {self.mce} if isinstance(self.mce, str) and not self.mce.endswith(".csv") else set()
        if unknown := sorted(named - set(self.arms)):
            raise ValueError(f"there is no arm {unknown[0]!r} (equivalence, mce); known: {', '.join(self.arms)}")
        return self


class Cluster(Strict):
    """What the job runs on."""

    workers: Positive | tuple[Positive, Positive] = Field(1, description="workers of a stage; [min, max] is elastic")
    cpus_per_worker: float = Field(1, gt=0, description="logical CPUs that each worker reserves")
    gpu: Literal["auto"] | bool = Field("auto", description="a GPU for each worker; auto: where there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU")
    channels_last: bool = Field(
        True, description="weights of convolutions in channels-last order; faster or alike where it was measured"
    )
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
    search: Search | None = Field(None, description="many runs of this job with other values; null: one run")
    max_broken: int = Field(0, ge=0, description="undecodable samples tolerated in a split before the job stops")
    cluster: Cluster = Field(default_factory=Cluster, description="what the job runs on")
    trackers: list[Literal["tensorboard", "mlflow"]] = Field(
        ["tensorboard"], description="where training metrics go beside log.jsonl; `mlflow` needs blear[mlflow]"
    )
    profiles: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="named sets of overrides, `path: value`; `*` in a path is every key"
    )

    @property
    def used_data(self) -> dict[str, Data]:
        """The data that a stage or the evaluation reads, by name."""
        used = {stage.data for stage in self.stages.values()} | {self.evaluate.data if self.evaluate else None}
        return {name: data for name, data in self.data.items() if name in used}

    @property
    def degradations(self) -> list[DegradationUse]:
        """Every degradation of the data, the stages and around the swept ones, those in groups included."""
        lists = [entries for data in self.data.values() for entries in (data.degrade_once, *data.extra)]
        lists += [entries for stage in self.stages.values() for entries in (stage.augment, stage.degrade)]
        sweeps = self.evaluate.sweeps.values() if self.evaluate is not None else ()
        lists += [entries for sweep in sweeps for entries in (sweep.before, sweep.after)]
        return [use for entries in lists for use in leaves(entries)]
