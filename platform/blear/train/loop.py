"""The training loop: one stage on one worker, from the first sample to the final weights. Every runner calls it."""

from __future__ import annotations

import contextlib
import json
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_model
from torch import nn

from blear.contracts import Batch, BuildContext
from blear.data.loader import RawBatch, batches, sequential
from blear.data.order import Order
from blear.data.prepared import Prepared
from blear.data.store import Store
from blear.degrade.chain import Chain, as_float, build_chain
from blear.errors import DataError
from blear.plugins import load
from blear.progress import track
from blear.runfolder import write_text
from blear.train import checkpoint
from blear.train.log import StageLog
from blear.train.model import build_recognizer, head_of
from blear.train.optimizer import build_optimizer, set_rate
from blear.train.plan import StagePlan
from blear.train.transfer import backbone_weights, transfer
from blear.train.worker import Worker


def train_stage(plan: StagePlan, worker: Worker) -> None:
    """Trains one stage, continuing from its newest checkpoint; leaves model.safetensors and stage.json.

    The loss at a step does not depend on the number of workers but for dropout masks and float rounding: the global
    batch is fixed, and each worker's mean is weighted with its share of it.
    """
    stage, folder = plan.spec, plan.run.stage(plan.stage)
    catalog = load(plan.plugin_files)
    prepared = Prepared.open(plan.prepared[stage.data])
    context = BuildContext(plan.job.seed, prepared.clip, prepared.targets)
    own_augment, own_degrade = plan.job.data[stage.data].extra
    augment, context = build_chain(catalog, [*own_augment, *stage.augment], context)
    degrade, context = build_chain(catalog, [*own_degrade, *stage.degrade], context, first=len(augment.operations))
    inputs = _Inputs(augment, degrade, worker.device)

    store = Store.open(prepared, stage.split or prepared.splits[0], max_broken=plan.job.max_broken)
    if len(store) < stage.batch_size:
        raise DataError(
            f"{len(store)} samples do not fill one batch of {stage.batch_size}",
            f"stage {plan.stage}, data {stage.data}",
            "prepare more data, or lower batch_size",
        )
    order = Order(len(store), stage.batch_size, plan.job.seed)

    inner = build_recognizer(catalog, stage, plan.stage, context)
    start = stage.backbone.start_from
    report = None
    if start is not None:
        report = transfer(inner.backbone, backbone_weights(plan.run.weights(start.stage)), start.take, start.stage)
    optimizer = build_optimizer(inner, stage.optimizer)
    model = worker.wrap(inner)
    first = checkpoint.restore(folder / "checkpoints", inner, optimizer)

    began = time.monotonic()
    lead = worker.rank == 0
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(StageLog(folder, first)) if lead else None
        bar = stack.enter_context(track(f"stage {plan.stage}", stage.steps, first)) if lead else None
        loss_sum, last_step, last_time = torch.zeros((), device=worker.device), first, time.monotonic()
        for step, raw in enumerate(batches(store, order, first, stage.steps, worker.rank, worker.world), first):
            rate = set_rate(optimizer, stage.optimizer, step, stage.steps)
            # reseeded at each step, so that dropout after a resume is that of the uninterrupted run
            stream = (zlib.crc32(plan.stage.encode()) << 8) ^ (step * worker.world + worker.rank)
            torch.manual_seed(((plan.job.seed << 40) ^ stream) % 2**63)
            batch = inputs(raw)
            with _precision(plan.job.cluster.precision, worker.device):
                loss = head_of(model).loss(model(batch.frames_BTCHW), batch)
            share = len(raw.samples_B) * worker.world / stage.batch_size
            optimizer.zero_grad(set_to_none=True)
            (loss * share).backward()
            optimizer.step()
            loss_sum += loss.detach() * (share / worker.world)  # stays on the device: no synchronisation at each step
            done = step + 1
            if done % stage.log_every == 0 or done == stage.steps:
                mean = worker.total(float(loss_sum)) / (done - last_step)
                now = time.monotonic()
                _check_finite(mean, plan.stage, done)
                if log is not None:
                    speed = (done - last_step) * stage.batch_size / (now - last_time)
                    log.write(done, loss=mean, lr=rate, seconds=now - began, samples_per_s=speed)
                if bar is not None:
                    bar.advance(done - last_step, f"loss {mean:.4g}")
                loss_sum, last_step, last_time = torch.zeros_like(loss_sum), done, now
            if stage.validate_ is not None and done % stage.validate_.every == 0 and log is not None:
                log.write(done, validation_loss=_validation_loss(plan, inner, inputs, prepared))
            if done % stage.checkpoint_every == 0 or done == stage.steps:
                if lead:
                    checkpoint.save(folder / "checkpoints", done, inner, optimizer)
                worker.saved(done, float(loss.detach()))
    if lead:
        _finish(
            plan, inner, folder, time.monotonic() - began, stage.steps - first, report.as_dict() if report else None
        )


@dataclass
class _Inputs:
    """Stored frames -> what the network sees: float on the device, augmented, then degraded."""

    augment: Chain
    degrade: Chain
    device: torch.device

    def __call__(self, raw: RawBatch) -> Batch:
        clean = self.augment(as_float(raw.frames_BTCHW, self.device), raw.epochs_B, raw.samples_B)
        frames = self.degrade(clean, raw.epochs_B, raw.samples_B)
        if raw.clean_BTCHW is not None:
            clean = as_float(raw.clean_BTCHW, self.device)
        return Batch(frames, clean, {name: value.to(self.device) for name, value in raw.targets.items()})


def _precision(wanted: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    use = wanted == "bfloat16" or (wanted == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if use else contextlib.nullcontext()


def _check_finite(loss: float, stage: str, step: int) -> None:
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise DataError(f"the loss is {loss} at step {step}", f"stage {stage}", "lower optimizer.lr of this stage")


@torch.no_grad()
def _validation_loss(plan: StagePlan, model: nn.Module, inputs: _Inputs, prepared: Prepared) -> float:
    """Mean loss over the first batches of the validation split, degraded as in training."""
    spec = plan.spec.validate_
    if spec is None:
        raise ValueError("the stage does not validate")
    store = Store.open(prepared, spec.split, max_broken=plan.job.max_broken)
    model.eval()
    total, count = 0.0, 0
    for number, raw in enumerate(sequential(store, plan.spec.batch_size)):
        if number == spec.batches:
            break
        batch = inputs(raw)
        total += float(head_of(model).loss(model(batch.frames_BTCHW), batch)) * len(raw.samples_B)
        count += len(raw.samples_B)
    model.train()
    return total / count


def _finish(
    plan: StagePlan,
    model: nn.Module,
    folder: Path,
    seconds: float,
    steps_now: int,
    transferred: dict[str, object] | None,
) -> None:
    """Final weights first, stage.json last: its presence says that the stage is done."""
    stage, weights = plan.spec, folder / "model.safetensors"
    partial = weights.with_suffix(".partial")
    save_model(model, str(partial))
    partial.replace(weights)
    facts = {
        "name": plan.stage,
        "data": stage.data,
        "backbone": stage.backbone.model_dump(mode="json", exclude_none=True),
        "head": stage.head.model_dump(mode="json"),
        "augment": [use.model_dump(mode="json") for use in stage.augment],
        "degrade": [use.model_dump(mode="json") for use in stage.degrade],
        "steps": stage.steps,
        "batch_size": stage.batch_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "seconds": seconds,
        "samples_per_s": steps_now * stage.batch_size / seconds if seconds > 0 else None,
        "transfer": transferred,
    }
    write_text(folder / "stage.json", json.dumps(facts, indent=1))
