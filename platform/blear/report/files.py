"""Reads what a report needs from a run folder; each problem names the file and what to do."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blear.errors import RunError
from blear.evaluate.predictions import read_predictions
from blear.evaluate.summary import Summary, read_summary

_AGAIN = "continue the run: give its command again"
_Model = TypeVar("_Model", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # a newer blear may write more


class Headline(_Part):
    """What the evaluation is judged by."""

    target: str
    metric: str
    label: str
    higher_is_better: bool


class Sweep(_Part):
    """A swept degradation; `levels` in order, mildest first; `group`: what it shares with other sweeps."""

    condition: str
    use: str = ""
    group: dict[str, str | int | float] = {}
    parameter: str
    levels: list[float] = Field(min_length=1)


class ArmInfo(_Part):
    """What an arm is; `clean`: tested on clean frames at every level, an upper bound."""

    stage: str
    note: str = ""
    clean: bool = False


class DataInfo(_Part):
    """What was read; `stand_in` when procedural data took the place of data that was not given."""

    use: str
    stands_for: str | None = Field(None, alias="for")
    source: str | None = None
    stand_in: bool = False
    terms: str = ""
    counts: dict[str, int] = {}


class RunInfo(_Part):
    """run.json of an evaluated run."""

    name: str
    description: str = ""
    started: str = ""
    finished: str | None = None
    seconds: float | None = None
    command: str = ""
    profile: str | None = None
    seed: int
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
        """run.json of an evaluation with one sweep, as blear 0.1 wrote it."""
        old = isinstance(data, dict) and "sweeps" not in data and "sweep" in data
        return data | {"sweeps": [data["sweep"]]} if old else data

    @property
    def sweep(self) -> Sweep:
        """The first sweep."""
        return self.sweeps[0]

    @property
    def clean_arms(self) -> set[str]:
        """Labels of the upper bounds."""
        return {label for label, arm in self.arms.items() if arm.clean}


class TransferInfo(_Part):
    """Which weights a stage started from."""

    source: str = Field(alias="from")
    taken: list[str] = []
    skipped: dict[str, str] = {}


class StageInfo(_Part):
    """stage.json of a finished stage."""

    name: str
    data: str
    backbone: Any
    head: Any
    augment: list[Any] = []
    degrade: list[Any] = []
    steps: int
    batch_size: int
    parameters: int
    trainable: int
    seconds: float
    samples_per_s: float | None = None
    transfer: TransferInfo | None = None


@dataclass(frozen=True)
class StageLog:
    """Learning curves of a stage: steps and losses of training and of validation, and so of the metric that decides."""

    loss: np.ndarray  # [2, N]: step, loss
    validation: np.ndarray  # [2, M]
    metric: str | None = None
    metric_training: np.ndarray = field(default_factory=lambda: np.empty((2, 0)))
    metric_validation: np.ndarray = field(default_factory=lambda: np.empty((2, 0)))


@dataclass(frozen=True)
class Faces:
    """Sample faces: uint8 frames [N, L, H, W, C], keys [N], severities and conditions [L]; "": the only condition.

    Attributes:
        mistakes: (sample, condition, severity) -> uint8 [H, W, C], of the worst mistakes.
    """

    frames: np.ndarray
    samples: list[str]
    severities: list[float]
    conditions: list[str]
    mistakes: dict[tuple[str, str, float], np.ndarray]


@dataclass(frozen=True)
class RunFiles:
    """Everything a report shows."""

    root: Path
    info: RunInfo
    job: str
    stages: list[tuple[StageInfo, StageLog]]
    summary: Summary
    predictions: pa.Table
    faces: Faces


def read_run(root: Path) -> RunFiles:
    """The files of an evaluated run.

    Raises:
        RunError: a file is missing or damaged, or the run is not evaluated yet.
    """
    job = root / "job.yaml"
    if not job.is_file():
        raise RunError("not a run folder (no job.yaml in it)", str(root), "give the folder that `blear run` named")
    summary, info = read_results(root)
    return RunFiles(
        root=root,
        info=info,
        job=job.read_text(),
        stages=[_stage(folder) for folder in _stage_folders(root / "stages")],
        summary=summary,
        predictions=read_predictions(root / "predictions.parquet"),
        faces=_faces(root / "faces.npz"),
    )


def read_results(root: Path) -> tuple[Summary, RunInfo]:
    """summary.json and run.json: all that a curve needs.

    Raises:
        RunError: missing or damaged.
    """
    summary = read_summary(root / "summary.json")
    info = _model(RunInfo, root / "run.json", f"run `blear evaluate {root}` again")
    for condition in (sweep.condition for sweep in info.sweeps):
        if condition not in summary.severities():
            do = f"run `blear evaluate {root}` again"
            raise RunError(f"no results of {condition!r}", str(root / "summary.json"), do)
    return summary, info


def _model(model: type[_Model], path: Path, do: str) -> _Model:
    if not path.is_file():
        raise RunError("missing", str(path), do)
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors()[:5])
        raise RunError(problems, str(path), do) from error


def _stage_folders(stages: Path) -> list[Path]:
    """Folders of the stages, in the order in which they were trained."""
    folders = [folder for folder in stages.iterdir() if folder.is_dir()] if stages.is_dir() else []
    unfinished = [folder.name for folder in folders if not (folder / "stage.json").is_file()]
    if unfinished or not folders:
        what = f"not trained to the end: {', '.join(sorted(unfinished))}" if unfinished else "no trained stages"
        raise RunError(what, str(stages), _AGAIN)
    return sorted(folders, key=lambda folder: ((folder / "stage.json").stat().st_mtime_ns, folder.name))


def _stage(folder: Path) -> tuple[StageInfo, StageLog]:
    info = _model(StageInfo, folder / "stage.json", _AGAIN)
    path = folder / "log.jsonl"
    if not path.is_file():
        raise RunError("missing", str(path), f"delete {folder} and {_AGAIN}")
    points: dict[str, list[tuple[float, float]]] = {"loss": [], "validation_loss": []}
    metric = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            entry = json.loads(line)
            for name in entry:
                of, _, what = name.partition("_")
                if of in ("training", "validation") and what != "loss":
                    metric = what
                    points.setdefault(name, [])
                if name in points:
                    points[name].append((float(entry["step"]), float(entry[name])))
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"line {number} is not a log line: {error!r}", str(path), f"mend or delete it; {_AGAIN}"
            ) from error
    names = ("loss", "validation_loss", f"training_{metric}", f"validation_{metric}")
    curves = [np.array(points.get(name, []), dtype=np.float64).reshape(-1, 2).T for name in names]
    return info, StageLog(curves[0], curves[1], metric, curves[2], curves[3])


def _faces(path: Path) -> Faces:
    do = f"run `blear evaluate {path.parent}` again"
    if not path.is_file():
        raise RunError("missing", str(path), do)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            frames, samples, severities = arrays["frames"], arrays["samples"], arrays["severities"]
            conditions = arrays["conditions"] if "conditions" in arrays else np.full(len(severities), "")
            mistakes = _mistakes(arrays) if "mistake_frames" in arrays else {}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RunError(f"cannot be read: {error}", str(path), do) from error
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[:2] != (len(samples), len(severities)):
        what = f"frames are {frames.dtype} {frames.shape}, not uint8 [{len(samples)}, {len(severities)}, H, W, C]"
        raise RunError(what, str(path), do)
    named = [str(condition) for condition in conditions]
    return Faces(frames, [str(key) for key in samples], [float(s) for s in severities], named, mistakes)


def _mistakes(arrays: Mapping[str, np.ndarray]) -> dict[tuple[str, str, float], np.ndarray]:
    names = ("mistake_samples", "mistake_conditions", "mistake_severities")
    keys = zip(*(arrays[name].tolist() for name in names), strict=True)
    return {(str(s), str(c), float(v)): frame for (s, c, v), frame in zip(keys, arrays["mistake_frames"], strict=True)}
