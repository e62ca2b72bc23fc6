"""The model of a run's stage: its card from the run folder, and its final weights."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from blear import __version__
from blear.data.dataset_info import TrainedOn
from blear.errors import RunError
from blear.evaluate.summary import read_summary
from blear.job.reader import read_run_job
from blear.job.schema import Job
from blear.job.training_digest import training_digest
from blear.models.card import ModelCard, Training
from blear.models.model import Model, load_weights
from blear.progress import echo
from blear.storage.run_folder import RunFolder
from blear.train.plan import seed_runs

_NETWORK = ("backbone", "head", "heads", "augment")
"""Keys of a stage that define its network."""

_NO_GREY_RANGE = (
    "its data do not state the range of grey values; colour pictures become grey in full range. If the data hold "
    "studio luma (16 to 235), prepare them again and train anew"
)


def stage_model(root: Path, stage: str | None = None) -> Model:
    """Loads the final weights of a stage, of a job with several seeds those of the first seed.

    Args:
        root: the run folder.
        stage: name of the stage; None: the last one.

    Raises:
        RunError: there is no such run or stage, its training is not complete, or the weights do not fit.
    """
    run = RunFolder.open(root)
    job = read_run_job(root)
    name = stage or list(job.stages)[-1]
    if name not in job.stages:
        raise RunError(f"there is no stage {name!r}", str(root), f"choose one of: {', '.join(job.stages)}")
    _, trained = _first_training(job, run)
    weights = trained.weights(name)
    model = Model(stage_card(run, job, name))
    load_weights(model.network, weights)
    return model


def _first_training(job: Job, run: RunFolder) -> tuple[Job, RunFolder]:
    """Returns job and run folder of the first training seed."""
    return next(iter(seed_runs(job, run).values()))


def stage_card(run: RunFolder, job: Job, name: str) -> ModelCard:
    """Makes the card of a trained stage.

    Raises:
        RunError: stage.json is missing or damaged.
    """
    seeded, trained = _first_training(job, run)
    stage, data = job.stages[name], _trained_on(trained.stage(name) / "stage.json")
    if data.grey_range is None and data.clip.channels == 1:
        echo(f"{run.root}, stage {name}: {_NO_GREY_RANGE}")
    length = data.clip.length if stage.frames is None else stage.frames.take
    network = stage.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=set(_NETWORK))
    for part in (network["backbone"], network.get("head"), *network.get("heads", {}).values()):
        if part is not None:
            part.pop("start_from", None)
    own = job.data[stage.data].extra[0]
    augment = [entry.model_dump(mode="json", by_alias=True, exclude_defaults=True) for entry in (*own, *stage.augment)]
    return ModelCard(
        name=f"{job.name}-{name}",
        summary=job.description,
        blear=__version__,
        plugins=tuple(job.plugins),
        seed=seeded.seed,
        network=network | ({"augment": augment} if augment else {}),
        clip=replace(data.clip, length=length, shortest=None),
        targets=data.targets,
        grey=data.grey_range or "full",
        framing=None if data.framing is None else asdict(data.framing),
        terms=_terms(run, stage.data),
        training=Training(
            run=job.name,
            stage=name,
            job_sha256=training_digest(job),
            data=data.name,
            params={key: value for key, value in data.params.items() if not _is_path(key, value)},
        ),
        metrics=_metrics(run, name) if job.seeds is None else [],  # means over the seeds are not of this model
    )


def _trained_on(file: Path) -> TrainedOn:
    try:
        return TrainedOn.model_validate(json.loads(file.read_bytes())["dataset"])
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"does not state the stage's training data: {error}", str(file), "run the job again") from error


def _is_path(key: str, value: Any) -> bool:
    return key == "source" or (isinstance(value, str) and PurePath(value).is_absolute())


def _terms(run: RunFolder, data: str) -> str:
    """The terms of the training data; empty where run.json does not state them."""
    try:
        return str(run.info["data"][data]["terms"])
    except (RunError, KeyError, TypeError):
        return ""


def _metrics(run: RunFolder, stage: str) -> list[dict[str, Any]]:
    """The estimates of the arms that this stage alone answered; empty for a run without a readable summary."""
    try:
        summary = read_summary(run.root / "summary.json")
    except (RunError, ValidationError):
        return []
    keys = ("arm", "condition", "severity", "metric", "value", "low", "high", "n")
    return [{key: getattr(e, key) for key in keys} for e in summary.estimates if e.stages == [stage]]
