"""The `evaluate` section of a job."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from blear.plugin.severity import severity_of
from blear.plugin.uses import DegradationEntry, Positive, StrictModel, Use


class Windows(StrictModel):
    """Windows of consecutive frames in which long clips are evaluated; their predictions are pooled for each clip."""

    length: Positive = Field(
        description="frames of a window; a shorter clip is one window in which the last frame is repeated"
    )
    stride: Positive = Field(
        description="frames from the start of a window to the start of the next; a window never extends beyond the clip"
    )


class Sweep(Use):
    """A degradation under which arms are evaluated, at several values of one of its parameters."""

    over: dict[str, list[float | list[float]]] | None = Field(
        None,
        description="parameter -> its values; where the parameter is a range, ranges of one value: [[2, 2], [4, 4]]. "
        "null: the default levels of the degradation",
    )
    before: list[DegradationEntry] = Field(
        default_factory=list, description="degradations applied before the swept one, at every level"
    )
    after: list[DegradationEntry] = Field(
        default_factory=list, description="degradations applied after the swept one, at every level"
    )
    label: str | None = Field(
        None,
        min_length=1,
        description="name of the condition in tables; null: the component's name, with a number if it is not unique",
    )
    group: dict[str, str | int | float] = Field(
        default_factory=dict,
        description="key -> value; sweeps with the same value form a group. Key `codec`: the levels are points of a "
        "rate-accuracy curve "
        "(bit rate, metric), and all keys together name the curve, for instance {codec: h264, shrink: 2}. Key `flips`: "
        "the flip rate is computed, the fraction of frames whose decision differs from that of the `previous` frame, "
        "or of the `first` frame of the clip (for noise)",
    )

    @field_validator("over")
    @classmethod
    def _severities(cls, over: dict[str, list[float | list[float]]] | None) -> Any:
        if over is not None and len(over) != 1:
            raise ValueError(f"has {len(over)} parameters; a sweep varies exactly one")
        for parameter, values in (over or {}).items():
            severities = [severity_of(value) for value in values]
            if not severities:
                raise ValueError(f"has no value of {parameter!r}")
            if twice := [one for one in severities if severities.count(one) > 1]:
                raise ValueError(f"has the value {twice[0]:g} of {parameter!r} twice")
        return over


CLEAN = "clean"
"""Name of the condition of frames without a swept degradation."""


def _many(sweep: Any) -> str:
    return "list" if isinstance(sweep, list) else "one"


class Arm(StrictModel):
    """One evaluated model: a trained stage, or a family of stages with one stage for each level (experts)."""

    stage: str = Field(
        description="name of a stage, or a template: `{factor}` is replaced by the value of the swept parameter "
        "`factor`, and "
        "`{condition}` by the label of the sweep; only levels for which such a stage exists are evaluated"
    )
    restore: str | None = Field(None, description="name of a restoration stage whose output is the input of `stage`")
    clean: bool = Field(False, description="evaluate on clean frames at every level, as an upper bound")
    note: str = Field("", description="one sentence about this arm for the report")


class Pool(StrictModel):
    """Pooling of several rows of the predictions table into one decision."""

    by: Literal["sample", "video"] = Field(
        "sample",
        description="the rows of each `sample` (its windows), or of each `video` (its frames), become one decision",
    )
    score: Literal["mean_logits", "sum_probabilities"] = Field(
        "mean_logits",
        description="how class probabilities are pooled, over rows with a detected face; regression values are "
        "averaged",
    )


class Equivalent(StrictModel):
    """A test of equivalence of two arms: two one-sided tests (TOST) at 5 %."""

    margin: float = Field(gt=0, description="largest difference of the headline metric that counts as equivalent")
    of: str = Field(description="label of the tested arm, for instance one model for all levels")
    against: str = Field(
        description="label of the arm that it is compared with, for instance the experts of each level"
    )
    target: str | None = Field(None, description="name of a target of the models; null: their first target")


class Evaluate(StrictModel):
    """The evaluation: data, swept degradations, arms, and statistics."""

    split: str = Field("dev", description="the split to report on")
    data: str | None = Field(
        None, description="name of an entry of `data`; null: the data of the arms' stages, which must be the same"
    )
    shares_validation: bool = Field(
        False,
        description="allow the selection of weights on the reported split, for datasets with only two splits; the "
        "report shows "
        "a warning",
    )
    sweep: Annotated[
        Annotated[Sweep, Tag("one")] | Annotated[list[Sweep], Tag("list"), Field(min_length=1)], Discriminator(_many)
    ] = Field(description="the swept degradation, or a list of them; each is one condition")
    clean: bool = Field(False, description="also evaluate every arm without degradation, as the condition `clean`")
    arms: dict[str, Arm] = Field(description="label -> arm; the others are compared with the first one")
    batch_size: Positive = Field(256, description="clips of one forward pass")
    windows: Windows | None = Field(
        None, description="windows in which each clip is evaluated; null: the whole clip in one pass"
    )
    pool: Pool | None = Field(
        None, description="how rows become decisions; null: each row is one decision, or with `windows` each clip"
    )
    without_face: Literal["missed", "prior"] = Field(
        "missed",
        description="how a second table counts decisions without a detected face: `missed`: as wrong; `prior`: as "
        "the most "
        "frequent class of the training data",
    )
    cluster: Literal["subject", "video", "sample"] | None = Field(
        None,
        description="the unit that intervals and tests resample, whose members are independent of each other; null: "
        "subjects where every sample has one, else videos, else samples",
    )
    resamples: Positive = Field(1000, description="number of bootstrap resamples")
    faces: int = Field(6, ge=0, description="number of sample faces in the report")
    equivalence: list[Equivalent] = Field(default_factory=list, description="pairs of arms to test for equivalence")
    temperature: str | None = Field(
        None,
        description="a split other than the reported one, on which each classifier's temperature is fitted; null: no "
        "temperature scaling",
    )
    slices: list[str] = Field(
        default_factory=list,
        description="keys of the samples' `meta`, or subject, video, truth: the headline metric is reported for "
        "each value",
    )
    mce: str | dict[str, dict[float, float]] | None = Field(
        None,
        description="reference of the mean corruption error (mCE): label of an arm; path of a CSV file with the "
        "columns "
        "condition, severity, error, relative to the job file; or the same as `condition: {severity: error}`",
    )

    @property
    def pooling(self) -> Pool | None:
        """How rows become decisions: `pool`, or with `windows` each clip; None: each row is one decision."""
        return self.pool or (None if self.windows is None else Pool())

    @property
    def sweeps(self) -> dict[str, Sweep]:
        """Condition -> sweep. A sweep without a label has its component's name, with a number if it is not unique."""
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
            raise ValueError(f"the label {CLEAN!r} is reserved for frames without degradation (`clean: true`)")
        if self.temperature == self.split:
            raise ValueError(f"temperature is fitted on {self.split!r}, the reported split; name another split")
        named = {label for pair in self.equivalence for label in (pair.of, pair.against)}
        named |= {self.mce} if isinstance(self.mce, str) and not self.mce.endswith(".csv") else set()
        if unknown := sorted(named - set(self.arms)):
            raise ValueError(f"there is no arm {unknown[0]!r} (equivalence, mce); known: {', '.join(self.arms)}")
        return self
