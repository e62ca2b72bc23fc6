"""Common steps of the scripts that write the folders of shipped models."""

from __future__ import annotations

import shlex
from pathlib import Path

from blear.contracts import BuildContext
from blear.job.reader import read_job
from blear.job.schema import Evaluate
from blear.job.training_digest import training_digest
from blear.models.conditions import Labelled, check_conditions, read_split
from blear.models.inference import for_inference
from blear.models.model import Model
from blear.models.scores import Score, all_scores
from blear.plugin.discovery import load_plugins

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "plugins" / "blear_robust" / "models"


def check_job(job: str, trained: Model) -> None:
    """Checks that the arguments of `blear run` name the job that the model was trained by."""
    file, *options = shlex.split(job)
    values = dict(zip(options[::2], options[1::2], strict=True))
    overrides = [value for option, value in zip(options[::2], options[1::2], strict=True) if option == "--set"]
    named, _ = read_job(ROOT / file, profile=values.get("--profile"), overrides=overrides)
    if training_digest(named) != trained.card.training.job_sha256:
        raise SystemExit(f"{job}: its digest is not that of the run, {trained.card.training.job_sha256}")


def read_fer2013(csv: Path, split: str, model: Model) -> Labelled:
    """The faces of a split of FER2013."""
    dataset = load_plugins().get("dataset", "fer/fer2013").build({"source": str(csv)}, BuildContext())
    return read_split(dataset, split, model)


def scores_of(model: Model, data: Labelled, evaluate: Evaluate, thin: int) -> list[Score]:
    """All scores of a model under conditions."""
    results = check_conditions(model, data, evaluate, load_plugins(), thin)
    return all_scores(results, data.truth_N, evaluate, model.labels[data.target])


def half_precision_changes(trained: Model, model: Model, data: Labelled) -> float:
    """Share of the decisions on clean faces that differ between float32 and float16 weights."""
    first, second = (
        for_inference(one)(data.frames_NTHWC[:, 0, :, :, 0])[data.target].argmax(1) for one in (trained, model)
    )
    return float((first != second).float().mean())
