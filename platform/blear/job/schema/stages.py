"""The `stages` section of a job."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blear.job.schema.data import DrawEntry, Matrix
from blear.job.schema.optimizer import Fraction, Optimizer
from blear.plugin.uses import DegradationEntry, Positive, StrictModel, UnitInterval, Use

HeadName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
MOST_STARS = 3
"""Largest number of wildcards in one pattern of `rename`."""
SHUFFLE_WINDOW = 2**22
"""Size of the largest split that is shuffled as a whole by default; its permutation has 16 MiB."""


class StartFrom(StrictModel):
    """Initial weights from an earlier stage or from a file, matched by parameter name and shape."""

    stage: str | None = Field(None, description="an earlier stage of this job")
    file: str | None = Field(
        "",
        description="weights file, relative to the job file; it is read without executing code; null: the file is "
        "missing, and "
        "weights are initialised randomly",
    )
    format: Literal["auto", "safetensors", "torch", "caffemodel"] = Field(
        "auto", description="format of `file`; auto: detected from its first bytes"
    )
    layout: Literal["rows", "matlab"] = Field(
        "rows", description="layout of `file`; matlab: trained on transposed images, so that kernels are transposed"
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="expected digest of `file`; null: the run records the digest"
    )
    take: list[str] = Field(["*"], description="modules or parameters to load: `conv1`, `conv*.weight`, ...")
    rename: dict[str, str] | str = Field(
        default_factory=dict,
        description="pattern of a name in the source -> name in the network; the first match counts; each `*` in the "
        "new name is replaced by the text that the same `*` of the pattern matched. Or the name of a table of the "
        "component, in `start_from` of a stage of its backbone and heads (`blear plugins show NAME` lists them); the "
        "resolved job contains the table",
    )
    partial: bool = Field(
        False, description="accept that convolutions which `take` names get no weights and stay random"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.stage is None) == (self.file == ""):
            raise ValueError("give `stage` or `file`, one of them")
        if self.stage is not None and {"format", "layout", "sha256"} & self.model_fields_set:
            raise ValueError("format, layout and sha256 belong to `file`")
        for pattern, name in self.rename.items() if isinstance(self.rename, dict) else ():
            if name.count("*") > pattern.count("*") or pattern.count("*") > MOST_STARS:
                raise ValueError(
                    f"rename {pattern!r}: at most {MOST_STARS} `*`, and in the new name no more than in the pattern"
                )
        return self


class BackboneUse(Use):
    """A backbone, with its parameters and its initial weights."""

    start_from: StartFrom | None = Field(None, description="source of the initial weights; null: random initialisation")


class HeadUse(Use):
    """A head, with its parameters and its initial weights."""

    start_from: StartFrom | None = Field(None, description="source of the initial weights; null: random initialisation")


class WeightedHeadUse(HeadUse):
    """One of several heads of a stage, with its parameters and the weight of its loss."""

    weight: float = Field(1.0, gt=0, description="weight of the head's loss in the sum of the losses")


class Teacher(StrictModel):
    """Knowledge distillation from a frozen model (Hinton, Vinyals & Dean 2015)."""

    stage: str | None = Field(None, description="an earlier stage of this job, with its backbone and head")
    file: str | None = Field(
        None,
        description="weights file of a stage (model.safetensors), relative to the job file, for `backbone` and `head`",
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="expected digest of `file`; null: the run records the digest"
    )
    backbone: Use | None = Field(None, description="`file`: backbone of the teacher; null: that of the stage")
    head: HeadUse | None = Field(None, description="`file`: head of the teacher; null: that of the stage")
    sees: Literal["clean", "degraded"] = Field(
        "clean",
        description="input of the teacher: the clean view of the same augmented sample, or the degraded frames",
    )
    weight: UnitInterval = Field(
        0.5, description="share of the distillation in the loss; the rest is the loss of the head"
    )
    temperature: float = Field(
        2.0, gt=0, description="divisor of the logits of student and teacher; classification targets only"
    )
    features: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {},
        description="feature of both backbones -> weight of the mean squared distance of its unit vectors, which is "
        "added to the loss",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.stage is None) == (self.file is None):
            raise ValueError("give `stage` or `file`, one of them")
        if self.stage is not None and {"sha256", "backbone", "head"} & self.model_fields_set:
            raise ValueError("sha256, backbone and head belong to `file`")
        return self


class Mix(StrictModel):
    """Mixed samples: the loss is the mean of the losses of both labels, weighted by their shares."""

    mixup: float | None = Field(
        None, gt=0, description="mixup: frames are averaged; alpha of the beta distribution of the share"
    )
    cutmix: float | None = Field(
        None,
        gt=0,
        description="CutMix: a rectangle comes from the other sample; alpha of the share; with both, each "
        "step draws one of them",
    )
    p: UnitInterval = Field(1.0, description="probability that the samples of a step are mixed")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.mixup is None and self.cutmix is None:
            raise ValueError("give `mixup`, `cutmix` or both")
        return self


class Frames(StrictModel):
    """Selection of the frames of each clip."""

    take: Positive = Field(description="number of frames; in a shorter clip the last frame is repeated")
    pick: Literal["random", "even", "first"] = Field(
        "random",
        description="`random`: distinct frames in order, drawn anew in each epoch; `even`: evenly spaced over "
        "the clip; "
        "`first`: the first frames. Validation, and evaluation without windows, always use `even`",
    )


class Validate(StrictModel):
    """Validation during training."""

    every: Positive = Field(description="number of steps between two validations")
    data: str | None = Field(
        None, description="name of an entry of `data` with the same targets; null: the data of the stage"
    )
    split: str = Field("dev", description="the validation split")
    batches: Positive = Field(
        100, description="largest number of batches of one validation; their samples are spread evenly over the split"
    )
    metric: str = Field(
        "loss",
        description="criterion of the best model: `loss`, or a metric of the head, as `metric` or `target.metric`; the "
        "metric is also computed on training batches and logged as `training_<metric>`. The headline metrics of a "
        "model with several targets are always logged",
    )
    keep: Literal["last", "best"] = Field("last", description="which weights the stage returns")
    ties: Literal["first", "last"] = Field(
        "first", description="which of several validations with the same best value is the best one"
    )
    patience: Positive | None = Field(
        None, description="early stopping after this many validations without improvement; null: no early stopping"
    )


class Stage(StrictModel):
    """One training run: data, degradations, model and optimizer."""

    data: str = Field(description="name of an entry of `data`")
    split: str | None = Field(None, description="the training split; null: the first split of the dataset")
    draw: list[DrawEntry] = Field(
        default_factory=list,
        description="weighted sampling from groups, with replacement; empty: every sample once in each epoch",
    )
    frames: Frames | None = Field(None, description="selection of frames of each clip; null: all frames")
    augment: list[DegradationEntry] = Field(
        default_factory=list,
        description="augmentations, applied before `degrade` to the frames and to the ground truth of restoration",
    )
    degrade: list[DegradationEntry] = Field(
        default_factory=list, description="degradations of the model's input, in order"
    )
    backbone: BackboneUse = Field(description="the backbone")
    head: HeadUse | None = Field(None, description="the head; it may decode several targets")
    heads: dict[HeadName, WeightedHeadUse] = Field(
        default_factory=dict,
        description="several heads: name -> head; in place of `head`. Their losses are added, and every target is "
        "validated, tested and reported",
    )
    teacher: Teacher | None = Field(None, description="distillation from a frozen model; null: none")
    mix: Mix | None = Field(None, description="mixup and CutMix; null: none")
    consistency: float | None = Field(
        None,
        gt=0,
        description="weight of the divergence between the outputs for two degradations of each sample, which both pass "
        "through the network; null: one degradation of each sample",
    )
    auxiliary_norm: bool = Field(
        False,
        description="batch normalisations have a second set of scales and offsets for degraded samples, which is "
        "dropped at the end of the stage",
    )
    start_from: StartFrom | None = Field(
        None,
        description="source of the initial weights of the whole stage, with names as in model.safetensors: "
        "`backbone.conv1.weight`, `head.linear.bias`; null: those of `backbone` and heads",
    )
    optimizer: Optimizer | None = Field(None, description="the optimizer; null: only with `steps: 0`")
    steps: int = Field(
        ge=0,
        description="number of optimizer steps; 0: the stage is only loaded, from `start_from`, and can be evaluated",
    )
    batch_size: Positive = Field(128, description="clips of one step, summed over all workers")
    shuffle_window: Positive = Field(
        SHUFFLE_WINDOW,
        description="a split of at most this many samples is shuffled as a whole; a larger split is shuffled in blocks "
        "of 1,000 "
        "consecutive samples, and within windows of at most this many samples and 128 blocks, for local reads",
    )
    log_every: Positive = Field(50, description="number of steps between two log lines")
    checkpoint_every: Positive = Field(1000, description="number of steps between two checkpoints")
    accumulate: Positive = Field(
        1, description="gradient accumulation: micro-batches into which each worker splits its part of a batch"
    )
    ema: Fraction | None = Field(
        None,
        description="decay of an exponential moving average of the weights, which is validated and saved; null: "
        "no average",
    )
    swa: Fraction | None = Field(
        None,
        description="in place of `ema`: the equal average of the weights of all steps after this fraction of the steps",
    )
    profile_steps: tuple[Positive, Positive] | None = Field(
        None,
        description="first and last step (from 1) of a profiler trace, written to trace.json in the stage's folder",
    )
    audit: bool = Field(False, description="write the samples of each step to samples/*.jsonl in the stage's folder")
    validate_: Validate | None = Field(None, alias="validate", description="validation while training")
    matrix: Matrix = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.profile_steps is not None and self.profile_steps[0] > self.profile_steps[1]:
            raise ValueError(f"profile_steps {list(self.profile_steps)} is no range; give the smaller number first")
        return self

    @model_validator(mode="after")
    def _one_average(self) -> Self:
        if self.ema is not None and self.swa is not None:
            raise ValueError("give `ema` or `swa`, not both")
        return self

    @model_validator(mode="after")
    def _one_kind_of_head(self) -> Self:
        if (self.head is None) == (not self.heads):
            raise ValueError("give `head` or `heads`, one of them")
        return self

    @model_validator(mode="after")
    def _trained_or_loaded(self) -> Self:
        if self.steps:
            if self.optimizer is None:
                raise ValueError("give an `optimizer`, or `steps: 0` for a stage that is only loaded")
            return self
        training = ["optimizer", "validate_", "teacher", "ema", "swa", "mix", "consistency", "auxiliary_norm"]
        training.append("profile_steps")
        unset = {name: self.__class__.model_fields[name].default for name in training}
        if given := [name.rstrip("_") for name in training if getattr(self, name) != unset[name]]:
            raise ValueError(f"a stage of `steps: 0` is only loaded; leave out: {', '.join(given)}")
        if not self.initial_weights:
            raise ValueError("a stage of `steps: 0` is only loaded; give `start_from`")
        return self

    @property
    def trained_by(self) -> Optimizer:
        """The optimizer of a stage that is trained.

        Raises:
            ValueError: the stage is only loaded.
        """
        if self.optimizer is None:
            raise ValueError("a stage of `steps: 0` has no optimizer")
        return self.optimizer

    @property
    def initial_weights(self) -> dict[str, StartFrom]:
        """Part of the model -> source of its initial weights.

        The parts are "" for the whole model, `backbone`, `head` and `heads.NAME`, in this order.
        """
        parts = {"": self.start_from, "backbone": self.backbone.start_from}
        parts |= {f"heads.{name}" if name else "head": head.start_from for name, head in self.all_heads.items()}
        return {part: source for part, source in parts.items() if source is not None}

    @property
    def all_heads(self) -> dict[str, HeadUse]:
        """Name -> head; of a stage with one `head` the name is empty."""
        return dict(self.heads) if self.head is None else {"": self.head}

    @property
    def validation_data(self) -> str:
        """Name of the data that the stage is validated on."""
        return self.data if self.validate_ is None or self.validate_.data is None else self.validate_.data

    @property
    def source_stages(self) -> list[str]:
        """Names of the earlier stages whose weights this stage reads."""
        sources = [source.stage for source in (*self.initial_weights.values(), self.teacher) if source is not None]
        return list(dict.fromkeys(stage for stage in sources if stage is not None))

    @property
    def networks(self) -> set[tuple[str, str]]:
        """(slot, name) of the stage's backbone and heads, and of those of a teacher from a file."""
        found = {("backbone", self.backbone.use), *(("head", head.use) for head in self.all_heads.values())}
        if self.teacher is not None and self.teacher.backbone is not None:
            found.add(("backbone", self.teacher.backbone.use))
        if self.teacher is not None and self.teacher.head is not None:
            found.add(("head", self.teacher.head.use))
        return found

    def logged(self, done: int) -> bool:
        """Whether a line is logged after `done` steps."""
        return done % self.log_every == 0 or done == self.steps
