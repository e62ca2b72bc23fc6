"""The parts of summary.json beside the estimates: tests, robustness scores, calibration, slices, rate-accuracy curves.

In every part, `arm` is the label of an arm, `condition` the label of a sweep, and `severity` its swept parameter. A
null value is undefined. Null `low` and `high` mean that there is no interval.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ALPHA = 0.05
"""The level of all tests."""


class SummaryModel(BaseModel):
    """Base class of the parts of summary.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)


TestMethod = Literal["permutation", "bootstrap", "mcnemar"]


class PairedTest(SummaryModel):
    """A test of whether two arms differ in a metric on the same decisions."""

    arm: str
    against: str
    condition: str
    severity: float | None = Field(description="null: the mean over the severities of both arms")
    metric: str
    method: TestMethod = Field(
        description="permutation: predictions swapped in whole clusters; bootstrap: of clusters and training seeds, "
        "for several seeds; mcnemar: exact, each sample is a cluster"
    )
    difference: float | None = Field(description="arm minus against")
    p: float | None = Field(description="two-sided p value; null: fewer than 3 clusters, or undefined")
    holm: float | None = Field(description="p value after Holm's correction over all tests of this method")

    @property
    def of_headline(self) -> bool:
        """Whether this is the test of the headline metric, whose corrected p value is the verdict on two arms."""
        return self.method != "mcnemar"

    @property
    def significant(self) -> bool | None:
        """Whether the corrected p value is below 5 %; None: not tested."""
        return None if self.holm is None or self.difference is None else self.holm < ALPHA


class Equivalence(SummaryModel):
    """Two one-sided tests of whether two arms differ by less than the margin of the job."""

    arm: str
    against: str
    condition: str | None = Field(description="null: all levels of all conditions; p is the largest of theirs")
    severity: float | None
    metric: str
    margin: float
    difference: float | None
    low: float | None = Field(description="90 % interval of the difference")
    high: float | None
    p: float | None = Field(description="the larger of the two one-sided p values")
    equivalent: bool | None = Field(description="the 90 % interval lies within the margins: p < 0.05; null: undefined")


RobustnessScoreName = Literal[
    "mean", "mean_condition", "relative_drop", "log_area", "worst", "mce", "relative_mce", "flip_rate"
]


class RobustnessScore(SummaryModel):
    """Robustness of one arm in one number. docs/evaluation.md has the definitions."""

    arm: str
    name: RobustnessScoreName
    metric: str
    condition: str | None = Field(None, description="null: over all conditions")
    severity: float | None = Field(
        None, description="severity of the worst level; null for the other scores but flip_rate"
    )
    value: float | None
    low: float | None = None
    high: float | None = None


class ReliabilityBin(SummaryModel):
    """One bin of a reliability diagram: the decisions whose confidence is in (low, high]."""

    low: float
    high: float
    n: int
    confidence: float | None = Field(description="mean confidence; null: no decisions")
    accuracy: float | None


class CalibrationScores(SummaryModel):
    """Calibration scores of predicted probabilities; lower is better."""

    ece: float = Field(description="expected calibration error, 15 bins of equal width")
    ece_mass: float = Field(description="expected calibration error, 15 bins of equal mass")
    brier: float = Field(description="mean squared distance from the truth, summed over classes: 0 to 2")
    nll: float = Field(description="mean negative log-likelihood, in nats")


class Calibration(SummaryModel):
    """Calibration of one arm at one condition, of the decisions with a found face."""

    arm: str
    condition: str
    severity: float
    n: int
    scores: CalibrationScores
    aurc: float = Field(description="area under the risk-coverage curve: the mean error rate over coverages")
    risk: list[float] = Field(description="error rate of the most confident 5 %, 10 %, ..., 100 % of decisions")
    bins: list[ReliabilityBin] = Field(description="15 bins of equal width")
    temperature: float | None = Field(None, description="fitted on the validation split; null: the job requests none")
    scaled: CalibrationScores | None = Field(None, description="scores after temperature scaling")
    scaled_bins: list[ReliabilityBin] = []


class Confusion(SummaryModel):
    """Confusion matrix of one arm at one condition, of the decisions with a found face."""

    arm: str
    condition: str
    severity: float
    counts: list[list[int]] = Field(description="row = true class, column = predicted class, as in `classes`")


class Slice(SummaryModel):
    """The headline metric of one arm at one condition, of the decisions with the same value of a column."""

    column: str
    group: str = Field(description="value of the column, or range of values")
    arm: str
    condition: str
    severity: float
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int
    small: bool = Field(description="fewer than 30 decisions or 10 clusters: too few to interpret alone")


class RateAccuracyPoint(SummaryModel):
    """One operating point of a rate-accuracy curve."""

    condition: str
    severity: float
    kbps: float = Field(description="mean bit rate weighted by duration, kbit/s")
    value: float | None
    low: float | None
    high: float | None
    fitted: float | None = Field(description="isotonic regression at this point")


class RateAccuracyCurve(SummaryModel):
    """A metric of one arm against bit rate."""

    arm: str
    codec: str
    factor: str = Field(
        description="entries of the sweeps' `group` beside the codec, for example `shrink 2`; `hull`: over all factors"
    )
    metric: str
    points: list[RateAccuracyPoint] = Field(description="ascending in bit rate")
    enough: bool = Field(description="whether there are at least six points")


class BjontegaardDelta(SummaryModel):
    """A Bjontegaard difference between two rate-accuracy curves, with isotonic regression and a log-rate axis."""

    arm: str
    against: str
    codec: str
    factor: str = Field(description="factor of `arm`; hull: the upper hull over all factors of the codec")
    against_factor: str
    metric: str
    kind: Literal["rate", "metric"] = Field(
        description="rate: change of the bit rate at equal metric, in per cent; metric: change of the metric at equal "
        "bit rate"
    )
    value: float | None
    low: float | None = None
    high: float | None = None
    undefined: str = Field("", description="reason why there is no value")
    cubic: float | None = Field(
        None, description="the same with polynomials of third degree without isotonic regression (VCEG-M33)"
    )
    per_video: float | None = Field(None, description="mean of the differences of single videos; null: none has one")
    videos: int = Field(0, description="number of videos with a difference of their own")


def cubic_differs(difference: BjontegaardDelta) -> bool:
    """Whether the cubic fit gives another number than isotonic regression, beyond 0.1 per cent or 0.001."""
    if difference.cubic is None:
        return False
    tolerance = 0.1 if difference.kind == "rate" else 0.001
    return difference.value is None or abs(difference.cubic - difference.value) > tolerance
