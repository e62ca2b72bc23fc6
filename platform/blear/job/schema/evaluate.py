"""The `evaluate` section of a job."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from blear.plugin.uses import DegradationEntry, Positive, StrictModel, Use


class Windows(StrictModel):
    """Long clips are tested in windows of consecutive frames, whose decisions are pooled."""

    length: Positive = Field(description="frames of a window; a shorter clip is one window, its last frame repeated")
    stride: Positive = Field(description="frames between the beginnings of two windows; windows fit entirely")


class Sweep(Use):
    """A degradation to test under, at each value of one of its parameters."""

    over: dict[str, list[float]] | None = Field(
        None, description="the parameter and its values; null: the levels that the degradation itself names"
    )
    before: list[DegradationEntry] = Field(
        default_factory=list, description="degradations before the swept one, at every level of it"
    )
    after: list[DegradationEntry] = Field(
        default_factory=list, description="degradations after the swept one, at every level"
    )
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


class Arm(StrictModel):
    """One curve of the report: a trained stage, or a family of stages with one for each level."""

    stage: str = Field(
        description="a stage; `{factor}` in it is replaced by the swept value, `{condition}` by the sweep's label: one "
        "expert for each level of the sweeps that have such stages"
    )
    restore: str | None = Field(None, description="a restoration stage whose image is fed to `stage`")
    clean: bool = Field(False, description="tested on clean frames at every level: an upper bound")
    note: str = Field("", description="what this arm is, one sentence")


class Pool(StrictModel):
    """One decision of several rows: the frames of a video, or the windows of a clip."""

    by: Literal["sample", "video"] = Field("sample", description="whose rows make one decision")
    score: Literal["mean_logits", "sum_probabilities"] = Field(
        "mean_logits", description="how probabilities are pooled, over the rows with a found face; values: their mean"
    )


class Equivalent(StrictModel):
    """Two arms that should do alike: two one-sided tests at 5 %."""

    margin: float = Field(gt=0, description="differences of the headline metric below this do not matter")
    of: str = Field(description="label of the arm that should do as well, as one model for all levels")
    against: str = Field(description="label of the arm that it should equal, as the experts of each level")


class Evaluate(StrictModel):
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
