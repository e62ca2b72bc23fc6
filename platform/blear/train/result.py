"""Results of a finished stage: final weights and stage.json."""

from __future__ import annotations

import json
import shutil
from typing import Any

from torch import nn

from blear.data.dataset_info import TrainedOn
from blear.data.prepared import Prepared
from blear.plugin.uses import DegradationEntry
from blear.storage.durable import replace_durably
from blear.storage.run_folder import write_text
from blear.train import checkpoint
from blear.train.setup import StageRun
from blear.train.state_copy import save_state, state_on_cpu


def _trained_on(prepared: Prepared) -> dict[str, Any]:
    """Facts of the training data that a user of the model needs: name, parameters, clip shape, targets."""
    return TrainedOn(
        name=prepared.name, params=prepared.info.params, clip=prepared.clip, targets=prepared.info.targets
    ).model_dump(mode="json")


def write_result(run: StageRun, seconds: float) -> None:
    """Writes the final weights, then stage.json. A stage with a stage.json is complete."""
    stage, folder, state = run.plan.spec, run.plan.run.stage(run.plan.stage), run.state
    weights = folder / "model.safetensors"
    partial = weights.with_suffix(".partial")
    best = state.best_step if stage.validate_ is not None and stage.validate_.keep == "best" else None
    if best is not None:
        shutil.copyfile(
            checkpoint.checkpoint_weights(checkpoint.checkpoint_path(folder / "checkpoints", best)), partial
        )
    else:
        model: nn.Module = run.model if run.modules.average is None else run.modules.average.module
        save_state(state_on_cpu(model), partial)
    replace_durably(partial, weights)
    steps_of_run = state.step - run.first_step
    values = {
        "name": run.plan.stage,
        "data": stage.data,
        "dataset": _trained_on(Prepared.open(run.plan.prepared[stage.data])),
        "backbone": stage.backbone.model_dump(mode="json", exclude_none=True),
        "head": None if stage.head is None else stage.head.model_dump(mode="json"),
        "heads": {name: head.model_dump(mode="json") for name, head in stage.heads.items()},
        "augment": [_entry(entry) for entry in stage.augment],
        "degrade": [_entry(entry) for entry in stage.degrade],
        "steps": state.step,
        "weights_of_step": state.step if best is None else best,
        "batch_size": stage.batch_size,
        "precision": state.precision,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "trainable": sum(p.numel() for p in run.model.parameters() if p.requires_grad),
        "seconds": seconds,
        "samples_per_s": steps_of_run * stage.batch_size / seconds if seconds > 0 else None,
        "transfer": None if run.transfer is None else run.transfer.as_dict(),
    }
    write_text(folder / "stage.json", json.dumps(values, indent=1))


def _entry(entry: DegradationEntry) -> dict[str, Any]:
    """An augmentation or degradation as the job file has it."""
    return entry.model_dump(mode="json", by_alias=True, exclude_defaults=True)
