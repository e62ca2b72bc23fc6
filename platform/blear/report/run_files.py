"""Reads the files of an evaluated run for the report. Errors name the file and how to fix it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML, YAMLError

from blear.errors import RunError, first_line
from blear.evaluate.predictions import read_predictions
from blear.evaluate.summary import Summary, read_summary
from blear.report.run_info import RunInfo, StageInfo
from blear.storage.run_folder import RunFolder

_CONTINUE = "continue the run: run its command again"
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class StageLog:
    """Learning curves of a stage, float64 [2, N] each: steps and values.

    Attributes:
        loss, validation: training and validation loss.
        metrics: name of a metric -> its values on training batches and in validation.
    """

    loss: np.ndarray
    validation: np.ndarray
    metrics: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True)
class Faces:
    """The content of faces.npz: pictures of N samples at L levels.

    Attributes:
        frames: uint8 [N, L, H, W, C].
        samples: sample keys [N].
        severities, conditions: of the levels [L]. The condition "" is the only condition of a run of blear 0.1.
        mistakes: (sample, condition, severity) -> picture of a mistake, uint8 [H, W, C].
    """

    frames: np.ndarray
    samples: list[str]
    severities: list[float]
    conditions: list[str]
    mistakes: dict[tuple[str, str, float], np.ndarray]


@dataclass(frozen=True)
class RunFiles:
    """The files of one run."""

    root: Path
    info: RunInfo
    job: str
    stages: list[tuple[StageInfo, StageLog]]
    summary: Summary
    predictions: pa.Table
    faces: Faces


def read_run(root: Path) -> RunFiles:
    """Reads the files of an evaluated run.

    Raises:
        RunError: a file is missing or damaged, or the run has not been evaluated.
    """
    job = root / "job.yaml"
    if not job.is_file():
        raise RunError(
            "not a run folder (no job.yaml in it)", str(root), "give the run folder that `blear run` printed"
        )
    summary, info = read_results(root)
    return RunFiles(
        root=root,
        info=info,
        job=job.read_text(),
        stages=_stages(root, info.seeds),
        summary=summary,
        predictions=read_predictions(root / "predictions.parquet"),
        faces=_faces(root / "faces.npz"),
    )


def read_results(root: Path) -> tuple[Summary, RunInfo]:
    """Reads summary.json and run.json, the input of a robustness curve.

    Raises:
        RunError: a file is missing or damaged.
    """
    summary = read_summary(root / "summary.json")
    info = _read_model(RunInfo, root / "run.json", f"run `blear evaluate {root}` again")
    for condition in (sweep.condition for sweep in info.sweeps):
        if condition not in summary.severities():
            do = f"run `blear evaluate {root}` again"
            raise RunError(f"no results of {condition!r}", str(root / "summary.json"), do)
    return summary, info


def _read_model(model: type[_Model], path: Path, do: str) -> _Model:
    if not path.is_file():
        raise RunError("missing", str(path), do)
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors()[:5])
        raise RunError(problems, str(path), do) from error


def _stages(root: Path, seeds: Sequence[int] | None) -> list[tuple[StageInfo, StageLog]]:
    """Reads the stages of the job in the order of training; with several seeds, their names have the seed."""
    names = _stage_names(root)
    if not seeds:
        return [_stage(folder) for folder in _stage_folders(root / "stages", names)]
    found = []
    for seed in seeds:
        for info, log in map(_stage, _stage_folders(RunFolder(root).of_seed(seed).root / "stages", names)):
            found.append((info.model_copy(update={"name": f"{info.name}, seed {seed}"}), log))
    return found


def _stage_names(root: Path) -> Collection[str]:
    """Returns the names of the job's stages; of a search, of the job of its best trial and of its baselines.

    A run may have folders of other stages, which an earlier version of its job had.
    """
    final = root / "final.yaml"
    file = final if final.is_file() else root / "job.yaml"
    try:
        loaded = YAML(typ="safe", pure=True).load(file.read_text())
        return {str(name) for name in loaded["stages"]}
    except (YAMLError, KeyError, TypeError) as error:
        raise RunError(f"the stages of the job cannot be read: {first_line(error)}", str(file), _CONTINUE) from error


def _stage_folders(stages: Path, names: Collection[str]) -> list[Path]:
    """Returns the folders of the named stages, in the order of training."""
    folders = [stages / name for name in names if (stages / name).is_dir()]
    unfinished = [folder.name for folder in folders if not (folder / "stage.json").is_file()]
    if unfinished or not folders:
        what = f"training is not finished: {', '.join(sorted(unfinished))}" if unfinished else "no trained stages"
        raise RunError(what, str(stages), _CONTINUE)
    return sorted(folders, key=lambda folder: ((folder / "stage.json").stat().st_mtime_ns, folder.name))


def _stage(folder: Path) -> tuple[StageInfo, StageLog]:
    info = _read_model(StageInfo, folder / "stage.json", _CONTINUE)
    path = folder / "log.jsonl"
    if not path.is_file():
        raise RunError("missing", str(path), f"delete {folder} and {_CONTINUE}")
    points: dict[str, list[tuple[float, float]]] = {"loss": [], "validation_loss": []}
    metrics: dict[str, None] = {}  # a dict as an ordered set
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            entry = json.loads(line)
            for name in entry:
                split, _, quantity = name.partition("_")
                if split in ("training", "validation") and quantity != "loss":
                    metrics[quantity] = None
                    points.setdefault(name, [])
                if name in points:
                    points[name].append((float(entry["step"]), float(entry[name])))
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"line {number} is not a log line: {error!r}", str(path), f"fix or delete it; {_CONTINUE}"
            ) from error
    curves = {name: np.array(found, dtype=np.float64).reshape(-1, 2).T for name, found in points.items()}
    empty = np.empty((2, 0))
    pairs = {m: (curves.get(f"training_{m}", empty), curves.get(f"validation_{m}", empty)) for m in metrics}
    return info, StageLog(curves["loss"], curves["validation_loss"], pairs)


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
