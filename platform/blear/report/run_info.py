"""Models of run.json and stage.json, with the entries that the report shows."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _RecordModel(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # a later version may write more entries


class Headline(_RecordModel):
    """The headline metric and its target."""

    target: str
    metric: str
    label: str
    higher_is_better: bool


class Sweep(_RecordModel):
    """A swept degradation.

    Attributes:
        condition: label of the sweep.
        use: name of the degradation.
        group: entries that the sweep shares with other sweeps, for example its codec.
        parameter: the swept parameter.
        levels: its values, mildest first.
    """

    condition: str
    use: str = ""
    group: dict[str, str | int | float] = {}
    parameter: str
    levels: list[float] = Field(min_length=1)


class ArmInfo(_RecordModel):
    """An arm of the job.

    Attributes:
        clean: evaluated on clean frames at every level, an upper bound.
        macs: multiply-accumulates for one face; None: not counted.
    """

    stage: str
    note: str = ""
    clean: bool = False
    macs: int | None = None


class DataInfo(_RecordModel):
    """A dataset of the run. `stand_in`: procedural data replaced data that has no source."""

    use: str
    stands_for: str | None = Field(None, alias="for")
    source: str | None = None
    stand_in: bool = False
    terms: str = ""
    counts: dict[str, int] = {}


class RunInfo(_RecordModel):
    """The content of run.json of an evaluated run."""

    name: str
    description: str = ""
    started: str = ""
    finished: str | None = None
    seconds: float | None = None
    command: str = ""
    profile: str | None = None
    seed: int
    seeds: list[int] | None = None
    runner: str = "local"
    world: int | list[int] = 1
    device: str = ""
    versions: dict[str, str] = {}
    host: dict[str, Any] = {}
    components: dict[str, str] = {}
    data: dict[str, DataInfo] = {}
    arms: dict[str, ArmInfo]
    headline: Headline
    split: str
    seen_in_selection: list[str] = []
    sweeps: list[Sweep] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _one_sweep(cls, data: Any) -> Any:
        """Converts run.json of blear 0.1, which has one sweep."""
        old = isinstance(data, dict) and "sweeps" not in data and "sweep" in data
        return data | {"sweeps": [data["sweep"]]} if old else data

    @property
    def sweep(self) -> Sweep:
        """The first sweep."""
        return self.sweeps[0]

    @property
    def clean_arms(self) -> set[str]:
        """Labels of the arms that are upper bounds."""
        return {label for label, arm in self.arms.items() if arm.clean}


class TransferInfo(_RecordModel):
    """The weights that a stage started from."""

    source: str = Field(alias="from")
    taken: list[str] = []
    skipped: dict[str, str] = {}


class StageInfo(_RecordModel):
    """The content of stage.json of a finished stage."""

    name: str
    data: str
    backbone: Any
    head: Any = None
    heads: dict[str, Any] = {}
    augment: list[Any] = []
    degrade: list[Any] = []
    steps: int
    batch_size: int
    parameters: int
    trainable: int
    seconds: float
    samples_per_s: float | None = None
    precision: str | None = None
    transfer: TransferInfo | None = None
