"""What a finished stage leaves: final weights and stage.json."""

from __future__ import annotations

import json
import shutil
from typing import Any

from safetensors.torch import save_model
from torch import nn

from blear.data.dataset_info import TrainedOn
from blear.data.prepared import Prepared
from blear.plugin.uses import DegradationEntry
from blear.storage.run_folder import write_text
from blear.train import checkpoint
from blear.train.setup import StageRun


def _dataset(prepared: Prepared) -> dict[str, Any]:
    """What a model must know of the data that it was trained on, wherever it is used later."""
    return TrainedOn(
        name=prepared.name, params=prepared.info.params, clip=prepared.clip, targets=prepared.info.targets
    ).model_dump(mode="json")


def finish(run: StageRun, seconds: float) -> None:
    """Final weights first, stage.json last: its presence says that the stage is done."""
    stage, folder, position = run.plan.spec, run.plan.run.stage(run.plan.stage), run.position
    weights = folder / "model.safetensors"
    partial = weights.with_suffix(".partial")
    best = position.best_step if stage.validate_ is not None and stage.validate_.keep == "best" else None
    if best is not None:
        shutil.copyfile(checkpoint.weights_in(checkpoint.path_of(folder / "checkpoints", best)), partial)
    else:
        model: nn.Module = run.inner if run.trained.average is None else run.trained.average.module
        save_model(model, str(partial))
    partial.replace(weights)
    steps_now = position.step - run.first
    facts = {
        "name": run.plan.stage,
        "data": stage.data,
        "dataset": _dataset(Prepared.open(run.plan.prepared[stage.data])),
        "backbone": stage.backbone.model_dump(mode="json", exclude_none=True),
        "head": stage.head.model_dump(mode="json"),
        "augment": [_entry(entry) for entry in stage.augment],
        "degrade": [_entry(entry) for entry in stage.degrade],
        "steps": position.step,
        "weights_of_step": position.step if best is None else best,
        "batch_size": stage.batch_size,
        "parameters": sum(p.numel() for p in run.inner.parameters()),
        "trainable": sum(p.numel() for p in run.inner.parameters() if p.requires_grad),
        "seconds": seconds,
        "samples_per_s": steps_now * stage.batch_size / seconds if seconds > 0 else None,
        "transfer": run.transferred,
    }
    write_text(folder / "stage.json", json.dumps(facts, indent=1))


def _entry(entry: DegradationEntry) -> dict[str, Any]:
    """A degradation as the job gives it."""
    return entry.model_dump(mode="json", by_alias=True, exclude_defaults=True)
