"""The training loop of one stage on one worker. Every runner calls it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import torch
from torch import Tensor

from blear.data.loader import batches
from blear.data.prepared import share_opened
from blear.progress import track
from blear.train.load_stage import load_stage
from blear.train.log import Audit, StageLog
from blear.train.plan import StagePlan
from blear.train.profile import StepProfiler
from blear.train.result import write_result
from blear.train.schedule import learning_rate
from blear.train.setup import StageRun, set_up
from blear.train.trackers import open_trackers
from blear.train.worker import Worker

_CPU_PREPROCESSING_THREADS = 2  # while one reads, augments and copies, the codecs of the other use the cores


def train_stage(plan: StagePlan, worker: Worker) -> None:
    """Trains one stage from its newest checkpoint to its end; writes model.safetensors and stage.json.

    A stage of `steps: 0` is loaded by rank 0.

    The size of the global batch is fixed, and the mean loss of each worker is weighted by its part of the batch. So
    the loss at a step depends on the number of workers only by dropout masks, batch statistics and float rounding.

    Raises:
        BlearError: an error of the data or the job, or a run that diverged. The newest checkpoint remains.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(share_opened())
        if not plan.spec.steps:
            if worker.rank == 0:
                load_stage(plan)
            return
        run = set_up(plan, worker)
        writer = stack.enter_context(contextlib.closing(run.writer)) if run.writer is not None else None
        started = time.monotonic()
        if not run.finished:
            _train(run, stack)
        if writer is not None:
            writer.wait()
            write_result(run, time.monotonic() - started)


def _train(run: StageRun, stack: contextlib.ExitStack) -> None:
    stage, worker, state = run.plan.spec, run.worker, run.state
    folder, lead = run.plan.run.stage(run.plan.stage), worker.rank == 0
    log = stack.enter_context(_open_log(run, folder)) if lead else None
    bar = stack.enter_context(track(f"stage {run.plan.stage}", stage.steps, run.first_step)) if lead else None
    profiler = stack.enter_context(
        contextlib.closing(StepProfiler(stage.profile_steps if lead else None, folder / "trace.json"))
    )
    audit = None
    if stage.audit:
        audit = Audit(folder / "samples", run.first_step, worker.rank, worker.world_size)
        stack.enter_context(contextlib.closing(audit))
    meter = _Meter(run)
    reading = batches(
        run.store,
        run.sampler,
        run.first_step,
        stage.steps,
        worker.rank,
        worker.world_size,
        frame_sampler=run.frame_sampler,
        transform=run.cpu_preprocessing,
        device=worker.device,
        threads=1 if run.cpu_preprocessing is None else _CPU_PREPROCESSING_THREADS,
        stall_s=run.plan.job.cluster.stall_s,
    )
    for step, raw in enumerate(stack.enter_context(contextlib.closing(reading)), run.first_step):
        profiler.before(step + 1)
        loss = run.stepper(step, raw)
        profiler.after(step + 1)
        state.step = done = step + 1
        if audit is not None:
            audit.write(done, raw.epochs_B[:: raw.views], raw.samples_B[:: raw.views])
        meter.update(loss)
        if stage.logged(done):
            values = meter.compute(done)
            if run.stepper.training_metric is not None:
                values |= run.stepper.training_metric.compute()
            if log is not None:
                log.write(done, **values)
            if bar is not None:
                bar.advance(meter.steps, f"loss {values['loss']:.4g}")
        keep_best = _validate(run, log) if stage.validate_ and done % stage.validate_.every == 0 else False
        requested = worker.should_checkpoint(done)
        if requested or keep_best or done % stage.checkpoint_every == 0 or run.finished:
            run.stepper.guard.check_weights(done, raw.samples_B)
            if run.writer is not None:
                run.writer.save(state, run.modules)
                if requested:
                    run.writer.wait()
            worker.on_checkpoint(done, {"loss": float(loss) * worker.world_size})
            if requested:
                worker.after_requested_checkpoint(done)
        if run.finished:
            return


def _open_log(run: StageRun, folder: Path) -> StageLog:
    """Opens log.jsonl and the job's experiment trackers."""
    stage, job = run.plan.spec, run.plan.job
    params = {
        "data": stage.data,
        "backbone": stage.backbone.use,
        "head": ", ".join(head.use for head in stage.all_heads.values()),
        "batch_size": stage.batch_size,
        "steps": stage.steps,
        **stage.trained_by.model_dump(mode="json"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    trackers = open_trackers(job.trackers, folder, run.first_step, job.name, run.plan.stage, params)
    log = StageLog(folder, run.first_step, trackers)
    if log.last_step > run.first_step:
        run.worker.on_resume(run.first_step, log.last_step)
    return log


class _Meter:
    """Mean loss and speed between two log lines. The sum stays on the device, so that no step waits for it."""

    def __init__(self, run: StageRun) -> None:
        self._run, self._started = run, time.monotonic()
        self._sum = torch.zeros((), device=run.worker.device)
        self._last_step, self._last_time, self.steps = run.first_step, self._started, 0

    def update(self, loss: Tensor) -> None:
        self._sum += loss

    def compute(self, done: int) -> dict[str, float]:
        """Values of the log line after step `done`. All workers call it at the same step."""
        stage = self._run.plan.spec
        self.steps = done - self._last_step
        mean = self._run.worker.all_reduce_sum(float(self._sum)) / self.steps
        now = time.monotonic()
        samples_per_s = self.steps * stage.batch_size / (now - self._last_time)
        self._sum, self._last_step, self._last_time = torch.zeros_like(self._sum), done, now
        lr = learning_rate(stage.trained_by, done - 1, stage.steps)
        return {"loss": mean, "lr": lr, "seconds": now - self._started, "samples_per_s": samples_per_s}


def _validate(run: StageRun, log: StageLog | None) -> bool:
    """Validates; returns whether these weights are the best so far and have to be kept."""
    validator, state = run.validator, run.state
    if validator is None:
        return False
    model = run.model if run.modules.average is None else run.modules.average.module
    _share_buffers(model, run.worker)
    values = validator(model)
    if log is not None:
        log.write(state.step, **values)
    value = values[f"validation_{validator.spec.metric}"]
    if validator.is_better(value, state.best):
        state.best, state.best_step, state.not_improved = value, state.step, 0
        return validator.spec.keep == "best"
    state.not_improved += 1
    return False


@torch.no_grad()
def _share_buffers(model: torch.nn.Module, worker: Worker) -> None:
    """Gives every worker the buffers of rank 0, such as batch statistics: a checkpoint holds those."""
    if worker.world_size == 1:
        return
    own = [buffer.cpu() for buffer in model.buffers()] if worker.rank == 0 else None
    first = next(buffers for buffers in worker.all_gather(own) if buffers is not None)
    for buffer, value in zip(model.buffers(), first, strict=True):
        buffer.copy_(value)
