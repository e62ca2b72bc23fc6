"""The model of summary.json: all results of an evaluation, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from blear.errors import RunError
from blear.evaluate.statistics.results import (
    BjontegaardDelta,
    Calibration,
    Confusion,
    Equivalence,
    PairedTest,
    RateAccuracyCurve,
    RobustnessScore,
    Slice,
    SummaryModel,
)
from blear.job.schema import Pool


class MetricInfo(SummaryModel):
    """Name and direction of a metric."""

    name: str = Field(description="column name")
    label: str = Field(description="label in charts and tables")
    higher_is_better: bool = Field(description="whether a higher value is better")


class Estimate(SummaryModel):
    """The value of one metric of one arm at one condition."""

    arm: str = Field(description="label of the arm")
    stages: list[str] = Field(description="stages whose models made the predictions")
    condition: str = Field(description="label of the sweep, or `clean`")
    severity: float = Field(description="value of the swept parameter")
    metric: str = Field(description="name of the metric")
    value: float | None = Field(description="of all decisions with a found face; null: undefined")
    low: float | None = Field(description="lower end of the 95 % interval; null: fewer than 3 clusters, or undefined")
    high: float | None = Field(description="upper end")
    per_video: float | None = Field(description="mean over videos with a defined metric; null: no videos")
    seed_sd: float | None = Field(
        None, description="standard deviation over the training seeds, whose mean `value` is; null: one seed"
    )
    n: int = Field(
        description="decisions of each seed with a found face: rows, or pooled rows where the job has `pool`"
    )
    missed: int = Field(description="decisions without a found face; excluded from `value`")
    with_missed: float | None = Field(
        None,
        description="of all decisions; a missed face has the class after the true one (see `without_face`), or the "
        "mean of the arm's predictions; null: none missed",
    )
    with_missed_low: float | None = Field(None, description="lower end of its 95 % interval")
    with_missed_high: float | None = Field(None, description="upper end")
    clusters: int = Field(description="clusters among the n decisions")
    face_px: float | None = Field(description="mean face width in pixels")
    kbps: float | None = Field(description="mean bit rate weighted by duration, in kbit/s")


class Difference(SummaryModel):
    """The headline metric of an arm minus that of the reference arm, with a paired interval."""

    arm: str = Field(description="label of the arm")
    condition: str = Field(description="label of the sweep, or `clean`")
    severity: float = Field(description="value of the swept parameter")
    value: float | None = Field(description="arm minus reference; null: undefined")
    low: float | None = Field(description="lower end of the 95 % interval")
    high: float | None = Field(description="upper end")
    excludes_zero: bool | None = Field(description="whether the interval excludes zero; null: no interval")


class Summary(SummaryModel):
    """All estimates of one evaluation; `metrics[0]` is the headline metric."""

    target: str = Field(description="name of the predicted quantity")
    metrics: list[MetricInfo] = Field(min_length=1, description="metrics, the headline metric first")
    arms: list[str] = Field(min_length=1, description="labels of the arms, in order of appearance")
    reference: str = Field(description="label of the arm that the other arms are compared with")
    cluster: Literal["subject", "video", "sample"] = Field(description="the unit that bootstrap and tests resample")
    clusters: int = Field(description="number of clusters")
    seeds: list[int] = Field([], description="training seeds that each arm is summarised over; empty: one seed")
    pool: Pool | None = Field(None, description="how rows are pooled to decisions; null: each row is one decision")
    without_face: Literal["missed", "prior"] = Field(
        "missed",
        description="prediction of `with_missed`: a wrong class, or the most frequent class of the training data",
    )
    resamples: int = Field(description="number of bootstrap resamples")
    seed: int = Field(description="seed of the bootstrap")
    estimates: list[Estimate] = Field(description="one for each arm, condition, severity and metric")
    differences: list[Difference] = Field(description="one for each other arm, condition and severity")
    interval: Literal["percentile", "bca"] = Field("percentile", description="kind of the confidence intervals")
    classes: list[str] = Field([], description="names of the classes; empty: a regression target")
    tests: list[PairedTest] = Field([], description="each other arm against the reference, by condition and severity")
    equivalence: list[Equivalence] = Field([], description="the tests of `evaluate.equivalence`")
    scalars: list[RobustnessScore] = Field([], description="robustness in single numbers")
    calibration: list[Calibration] = Field([], description="one for each arm, condition and severity, of classes")
    confusion: list[Confusion] = Field([], description="one for each arm, condition and severity, of classes")
    slices: list[Slice] = Field([], description="the slices of `evaluate.slices`")
    rates: list[RateAccuracyCurve] = Field([], description="rate-accuracy curves of conditions with a bit rate")
    bd: list[BjontegaardDelta] = Field([], description="Bjontegaard differences of each other arm from the reference")
    other_targets: list[Summary] = Field([], description="the summaries of the other targets of the evaluated models")

    def of_target(self, target: str) -> Summary | None:
        """Returns the summary of one target; None where it was not evaluated."""
        return next((each for each in (self, *self.other_targets) if each.target == target), None)

    def estimate(self, arm: str, condition: str, severity: float, metric: str | None = None) -> Estimate | None:
        """Returns one estimate; None where the arm was not evaluated. `metric` None: the headline metric."""
        key = (arm, condition, severity, metric or self.metrics[0].name)
        return next((e for e in self.estimates if (e.arm, e.condition, e.severity, e.metric) == key), None)

    def difference(self, arm: str, condition: str, severity: float) -> Difference | None:
        """Returns one difference from the reference; None where there is none."""
        key = (arm, condition, severity)
        return next((d for d in self.differences if (d.arm, d.condition, d.severity) == key), None)

    def headline_test(self, arm: str, condition: str, severity: float | None) -> PairedTest | None:
        """Returns the test of the headline metric against the reference arm; None where there is none.

        It is the only source of verdicts on two arms; intervals of differences are not corrected for multiple tests.
        """
        key = (True, arm, condition, severity)
        return next((t for t in self.tests if (t.of_headline, t.arm, t.condition, t.severity) == key), None)

    def severities(self) -> dict[str, list[float]]:
        """Returns condition -> severities of any arm, ascending. An arm of experts may lack some of them."""
        found: dict[str, set[float]] = {}
        for e in self.estimates:
            found.setdefault(e.condition, set()).add(e.severity)
        return {condition: sorted(severities) for condition, severities in found.items()}


def read_summary(path: Path) -> Summary:
    """Reads summary.json of a run.

    Raises:
        RunError: the file is missing or invalid.
    """
    if not path.is_file():
        raise RunError("there is no summary yet", str(path), f"run `blear evaluate {path.parent}` first")
    try:
        return Summary.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise RunError(f"{field}: {first['msg']}", str(path), f"run `blear evaluate {path.parent}` again") from error
