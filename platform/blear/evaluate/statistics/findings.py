"""What an evaluation finds beside its estimates: the parts of summary.json that tables and figures are drawn from.

Everywhere: `arm` is an arm's label, `condition` a sweep's label, `severity` its swept parameter; a null value is
undefined, and null `low` and `high` mean that there is no interval.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A piece of summary.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PairedTest(Part):
    """Whether two arms differ in the headline metric, on the same decisions."""

    arm: str
    against: str
    condition: str
    severity: float | None = Field(description="null: the mean over the condition's severities that both arms have")
    metric: str
    method: Literal["permutation", "mcnemar"] = Field(
        description="permutation: answers exchanged in whole clusters; mcnemar: exact, where each sample is a cluster"
    )
    difference: float | None = Field(description="arm minus against")
    p: float | None = Field(description="two-sided; null: fewer than 3 clusters, or undefined")
    holm: float | None = Field(description="p after Holm's correction over all tests of this method in the table")


class Equivalence(Part):
    """Two one-sided tests: whether two arms differ by less than a margin that the job states."""

    arm: str
    against: str
    condition: str | None = Field(description="null: at every level of every condition; its p is the largest of them")
    severity: float | None
    metric: str
    margin: float
    difference: float | None
    low: float | None = Field(description="90 % interval of the difference")
    high: float | None
    p: float | None = Field(description="the larger of the two one-sided p values")
    equivalent: bool | None = Field(description="p < 0.05; null: undefined")


ScalarName = Literal["mean", "mean_condition", "relative_drop", "log_area", "worst", "mce", "relative_mce", "flip_rate"]


class Scalar(Part):
    """Robustness of one arm in one number; definitions in docs/evaluation.md."""

    arm: str
    name: ScalarName
    metric: str
    condition: str | None = Field(None, description="null: over all conditions")
    severity: float | None = Field(None, description="of `worst`, where it was found")
    value: float | None
    low: float | None = None
    high: float | None = None


class Bin(Part):
    """One bar of a reliability diagram: decisions whose confidence lies in (low, high]."""

    low: float
    high: float
    n: int
    confidence: float | None = Field(description="mean; null: no decisions")
    accuracy: float | None


class Scores(Part):
    """How far probabilities can be believed."""

    ece: float = Field(description="expected calibration error, 15 bins of equal width")
    ece_mass: float = Field(description="the same, 15 bins of equally many decisions")
    brier: float = Field(description="mean squared distance from the truth, summed over classes: 0 to 2")
    nll: float = Field(description="mean negative log-likelihood, in nats")


class Calibration(Part):
    """Calibration of one arm at one condition, over the decisions with a found face."""

    arm: str
    condition: str
    severity: float
    n: int
    scores: Scores
    aurc: float = Field(description="area under the risk-coverage curve: the mean error rate over coverages")
    risk: list[float] = Field(description="error rate of the most confident 5 %, 10 %, ..., 100 % of decisions")
    bins: list[Bin] = Field(description="15 of equal width")
    temperature: float | None = Field(None, description="fitted on the validation split; null: not asked for")
    scaled: Scores | None = Field(None, description="after temperature scaling")
    scaled_bins: list[Bin] = []


class Confusion(Part):
    """Counts of one arm at one condition, over the decisions with a found face."""

    arm: str
    condition: str
    severity: float
    counts: list[list[int]] = Field(description="row = true class, column = predicted class, as in `classes`")


class Slice(Part):
    """The headline metric of one arm at one condition on the decisions that share a value of a column."""

    column: str
    group: str = Field(description="the shared value")
    arm: str
    condition: str
    severity: float
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int
    small: bool = Field(description="fewer than 30 decisions or 10 clusters: not to be read alone")


class RatePoint(Part):
    """One operating point of a rate-accuracy curve."""

    condition: str
    severity: float
    kbps: float = Field(description="mean bit rate, kbit/s")
    value: float | None
    low: float | None
    high: float | None
    fitted: float | None = Field(description="the monotone fit there")


class RateCurve(Part):
    """A metric of one arm against bit rate."""

    arm: str
    codec: str
    factor: str = Field(description="what the sweeps of the curve share beside the codec, as `shrink 2`; hull: `hull`")
    metric: str
    points: list[RatePoint] = Field(description="ascending in rate")
    enough: bool = Field(description="at least six points")


class BdNumber(Part):
    """A Bjontegaard difference between two curves, on a log-rate axis with a monotone fit."""

    arm: str
    against: str
    codec: str
    factor: str = Field(description="of `arm`; hull: the upper hulls over all factors of the codec")
    against_factor: str
    metric: str
    kind: Literal["rate", "metric"] = Field(
        description="rate: bits that `arm` needs for the same metric, per cent more (+) or less (-); metric: what it "
        "gains at the same bits"
    )
    value: float | None
    low: float | None = None
    high: float | None = None
    undefined: str = Field("", description="why there is no value")
