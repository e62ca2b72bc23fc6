"""What summary.json holds: every number of the report, with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from blear.errors import RunError
from blear.evaluate.statistics.findings import (
    BdNumber,
    Calibration,
    Confusion,
    Equivalence,
    PairedTest,
    Part,
    RateCurve,
    Scalar,
    Slice,
)
from blear.job.schema import Pool


class MetricInfo(Part):
    """A metric without its function."""

    name: str = Field(description="column name")
    label: str = Field(description="how charts name it")
    higher_is_better: bool = Field(description="direction")


class Estimate(Part):
    """A metric of one arm at one condition."""

    arm: str = Field(description="label of the arm")
    stages: list[str] = Field(description="stages whose predictions these are")
    condition: str = Field(description="the degradation")
    severity: float = Field(description="its swept parameter")
    metric: str = Field(description="name of the metric")
    value: float | None = Field(description="on all decisions together; null: undefined")
    low: float | None = Field(description="lower end of the 95 % interval; null: fewer than 3 clusters, or undefined")
    high: float | None = Field(description="upper end")
    per_video: float | None = Field(description="mean over the videos where it is defined; null: no videos")
    n: int = Field(description="decisions: rows, or what `pool` makes of them, with a found face")
    missed: int = Field(description="decisions without a found face; `value` does not count them")
    with_missed: float | None = Field(
        None,
        description="on all decisions; a missed one has the class after the true one (but see `without_face`), or the "
        "mean of the arm's found values; null: none missed",
    )
    with_missed_low: float | None = Field(None, description="lower end of its 95 % interval")
    with_missed_high: float | None = Field(None, description="upper end")
    clusters: int = Field(description="clusters among the n decisions")
    face_px: float | None = Field(description="mean face width in pixels")
    kbps: float | None = Field(description="mean bit rate in kbit/s")


class Difference(Part):
    """Headline metric of an arm minus that of the reference arm; the interval is of both on the same resamples."""

    arm: str = Field(description="label of the arm")
    condition: str = Field(description="the degradation")
    severity: float = Field(description="its swept parameter")
    value: float | None = Field(description="arm minus reference; null: undefined")
    low: float | None = Field(description="lower end of the 95 % interval")
    high: float | None = Field(description="upper end")
    excludes_zero: bool | None = Field(description="whether the interval excludes zero; null: no interval")


class Summary(Part):
    """All estimates of one evaluation; `metrics[0]` is the headline metric."""

    target: str = Field(description="the labelled quantity")
    metrics: list[MetricInfo] = Field(min_length=1, description="metrics, the headline first")
    arms: list[str] = Field(min_length=1, description="labels, in order of appearance")
    reference: str = Field(description="the arm that the others are compared with")
    cluster: Literal["video", "subject", "sample"] = Field(description="what the bootstrap draws")
    clusters: int = Field(description="how many there are")
    pool: Pool | None = Field(None, description="what one decision is made of; null: each row is one")
    without_face: Literal["missed", "prior"] = Field(
        "missed", description="how `with_missed` answers: wrongly, or with the most frequent class of the training data"
    )
    resamples: int = Field(description="bootstrap resamples")
    seed: int = Field(description="seed of the bootstrap")
    estimates: list[Estimate] = Field(description="one for each arm, condition, severity and metric")
    differences: list[Difference] = Field(description="one for each other arm, condition and severity")
    interval: Literal["percentile", "bca"] = Field("percentile", description="how the intervals were made")
    classes: list[str] = Field([], description="names of the classes; empty: a target of values")
    tests: list[PairedTest] = Field([], description="each other arm against the reference, by condition and severity")
    equivalence: list[Equivalence] = Field([], description="what `evaluate.equivalence` asks for")
    scalars: list[Scalar] = Field([], description="robustness in single numbers")
    calibration: list[Calibration] = Field([], description="one for each arm, condition and severity, of classes")
    confusion: list[Confusion] = Field([], description="one for each arm, condition and severity, of classes")
    slices: list[Slice] = Field([], description="what `evaluate.slices` asks for")
    rates: list[RateCurve] = Field([], description="rate-accuracy curves of conditions with a bit rate")
    bd: list[BdNumber] = Field([], description="Bjontegaard differences of each other arm from the reference")

    def estimate(self, arm: str, condition: str, severity: float, metric: str | None = None) -> Estimate | None:
        """One estimate, of the headline metric unless another is named; None where the arm was not tested."""
        key = (arm, condition, severity, metric or self.metrics[0].name)
        return next((e for e in self.estimates if (e.arm, e.condition, e.severity, e.metric) == key), None)

    def difference(self, arm: str, condition: str, severity: float) -> Difference | None:
        """One difference; None where there is nothing to compare."""
        key = (arm, condition, severity)
        return next((d for d in self.differences if (d.arm, d.condition, d.severity) == key), None)

    def severities(self) -> dict[str, list[float]]:
        """Condition -> severities, ascending: arms of experts do not have all of them."""
        found: dict[str, set[float]] = {}
        for e in self.estimates:
            found.setdefault(e.condition, set()).add(e.severity)
        return {condition: sorted(severities) for condition, severities in found.items()}


def read_summary(path: Path) -> Summary:
    """summary.json of a run.

    Raises:
        RunError: missing, or not what `summarise` wrote.
    """
    if not path.is_file():
        raise RunError("there is no summary yet", str(path), f"run `blear evaluate {path.parent}` first")
    try:
        return Summary.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise RunError(f"{place}: {first['msg']}", str(path), f"run `blear evaluate {path.parent}` again") from error
