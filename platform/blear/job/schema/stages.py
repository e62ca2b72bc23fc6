"""The `stages` section of a job."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from blear.job.schema.data import DrawEntry, Matrix
from blear.job.schema.optimizer import Fraction, Optimizer
from blear.plugin.uses import DegradationEntry, Positive, StrictModel, Use

MOST_STARS = 3
"""Wildcards in one pattern of `rename`."""
SHUFFLE_WINDOW = 2**22
"""Samples of the largest split that is shuffled whole by default: its permutation takes 16 MiB."""


class HeadUse(Use):
    """A head."""


class StartFrom(StrictModel):
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


class Frames(StrictModel):
    """Which frames of a clip training sees."""

    take: Positive = Field(description="frames of every clip; a shorter one gives all of its, the last one repeated")
    pick: Literal["random", "even", "first"] = Field(
        "random",
        description="`random`: distinct ones in order, drawn anew in each epoch; `even`: spread over the clip; "
        "validation, and evaluation without windows, are always `even`",
    )


class Validate(StrictModel):
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


class Stage(StrictModel):
    """One training run: data, degradations, backbone, head, optimizer."""

    data: str = Field(description="name of an entry of `data`")
    split: str | None = Field(None, description="split to train on; null: the dataset's first")
    draw: list[DrawEntry] = Field(
        default_factory=list,
        description="groups of samples, drawn with replacement at their shares; empty: every sample once in an epoch",
    )
    frames: Frames | None = Field(None, description="which frames of each clip are used; null: all of them")
    augment: list[DegradationEntry] = Field(
        default_factory=list, description="operations on the clean frames, before `degrade`; restoration targets follow"
    )
    degrade: list[DegradationEntry] = Field(default_factory=list, description="degradations, in order")
    backbone: BackboneUse = Field(description="the backbone")
    head: HeadUse = Field(description="the head")
    optimizer: Optimizer = Field(description="the optimizer")
    steps: Positive = Field(description="optimizer steps")
    batch_size: Positive = Field(128, description="clips of one step, over all workers together")
    shuffle_window: Positive = Field(
        SHUFFLE_WINDOW,
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
