"""Results of a finished stage: final weights and stage.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from blear.data.dataset_info import TrainedOn
from blear.data.prepared import Prepared
from blear.job.schema import HeadUse
from blear.plugin.uses import DegradationEntry
from blear.storage.durable import durable_file
from blear.storage.run_folder import write_text
from blear.train import checkpoint
from blear.train.auxiliary_norm import remove_auxiliary, without_auxiliary
from blear.train.plan import StagePlan
from blear.train.setup import StageRun
from blear.train.state_copy import save_state, state_on_cpu
from blear.train.transfer import Transfers

WEIGHTS = "model.safetensors"


def _trained_on(prepared: Prepared) -> dict[str, Any]:
    """Facts of the training data that a user of the model needs: name, parameters, clip shape, targets."""
    return TrainedOn(
        name=prepared.name,
        params=prepared.info.params,
        clip=prepared.clip,
        targets=prepared.info.targets,
        framing=prepared.info.framing,
        grey_range=prepared.info.grey_range,
    ).model_dump(mode="json")


def write_result(run: StageRun, seconds: float) -> None:
    """Writes the final weights, then stage.json. A stage with a stage.json is complete."""
    stage, folder, state = run.plan.spec, run.plan.run.stage(run.plan.stage), run.state
    best = state.best_step if stage.validate_ is not None and stage.validate_.keep == "best" else None
    if best is not None:
        kept = checkpoint.checkpoint_weights(checkpoint.checkpoint_path(folder / "checkpoints", best))
        with durable_file(folder / WEIGHTS, (folder / WEIGHTS).with_suffix(".partial")) as partial:
            if stage.auxiliary_norm:
                save_state(without_auxiliary(load_file(kept)), partial)
            else:
                shutil.copyfile(kept, partial)
    else:
        model = run.model if run.modules.average is None else run.modules.average.module
        remove_auxiliary(model)
        save_weights(model, folder)
    remove_auxiliary(run.model)
    steps_of_run = state.step - run.first_step
    write_stage_record(
        run.plan,
        run.model,
        run.transfer,
        steps=state.step,
        weights_of_step=state.step if best is None else best,
        precision=state.precision,
        seconds=seconds,
        samples_per_s=steps_of_run * stage.batch_size / seconds if seconds > 0 else None,
    )


def save_weights(model: nn.Module, folder: Path) -> None:
    """Writes model.safetensors to the folder of a stage."""
    with durable_file(folder / WEIGHTS, (folder / WEIGHTS).with_suffix(".partial")) as partial:
        save_state(state_on_cpu(model), partial)


def write_stage_record(
    plan: StagePlan,
    model: nn.Module,
    transfers: Transfers,
    *,
    seconds: float,
    steps: int = 0,
    weights_of_step: int = 0,
    precision: str | None = None,
    samples_per_s: float | None = None,
) -> None:
    """Writes stage.json, which makes a stage complete.

    Args:
        transfers: the key `transfer` is the report of the whole model, else of the backbone; `head_transfers` has those
            of the heads.
    """
    stage = plan.spec
    reports = {part: report.as_dict() for part, report in transfers.items() if report is not None}
    values = {
        "name": plan.stage,
        "data": stage.data,
        "dataset": _trained_on(Prepared.open(plan.prepared[stage.data])),
        "backbone": stage.backbone.model_dump(mode="json", exclude_none=True),
        "head": None if stage.head is None else _head(stage.head),
        "heads": {name: _head(head) for name, head in stage.heads.items()},
        "augment": [_entry(entry) for entry in stage.augment],
        "degrade": [_entry(entry) for entry in stage.degrade],
        "steps": steps,
        "weights_of_step": weights_of_step,
        "batch_size": stage.batch_size,
        "precision": precision,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad) if stage.steps else 0,
        "seconds": seconds,
        "samples_per_s": samples_per_s,
        "transfer": reports.get("", reports.get("backbone")),
        "head_transfers": {part: report for part, report in reports.items() if part.startswith("head")},
    }
    write_text(plan.run.stage(plan.stage) / "stage.json", json.dumps(values, indent=1))


def _head(head: HeadUse) -> dict[str, Any]:
    """A head as the job file has it."""
    return head.model_dump(mode="json", exclude=None if head.start_from is not None else {"start_from"})


def _entry(entry: DegradationEntry) -> dict[str, Any]:
    """An augmentation or degradation as the job file has it."""
    return entry.model_dump(mode="json", by_alias=True, exclude_defaults=True)
