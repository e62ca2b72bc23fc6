"""The training loop: one stage on one worker, from the first sample to the final weights. Every runner calls it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import torch
from torch import Tensor

from blear.data.loader import batches
from blear.progress import track
from blear.train.log import Audit, StageLog
from blear.train.plan import StagePlan
from blear.train.profile import StepProfiler
from blear.train.result import finish
from blear.train.schedule import rate
from blear.train.setup import StageRun, set_up
from blear.train.trackers import open_trackers
from blear.train.worker import Worker

_WORKING_THREADS = 2  # while one thread reads, augments and copies, the codecs of the other use the cores


def train_stage(plan: StagePlan, worker: Worker) -> None:
    """Trains one stage, continuing from its newest checkpoint; leaves model.safetensors and stage.json.

    The loss at a step does not depend on the number of workers but for dropout masks, batch statistics and float
    rounding: the global batch is fixed, and each worker's mean is weighted with its share of it.

    Raises:
        BlearError: of the data, the job, or a run that diverged; the newest checkpoint stays.
    """
    with contextlib.ExitStack() as stack:
        run = set_up(plan, worker)
        saved = stack.enter_context(contextlib.closing(run.writer)) if run.writer is not None else None
        began = time.monotonic()
        if not run.ended:
            _train(run, stack)
        if saved is not None:
            saved.wait()
            finish(run, time.monotonic() - began)


def _train(run: StageRun, stack: contextlib.ExitStack) -> None:
    stage, worker, position = run.plan.spec, run.worker, run.position
    folder, lead = run.plan.run.stage(run.plan.stage), worker.rank == 0
    log = stack.enter_context(_open_log(run, folder)) if lead else None
    bar = stack.enter_context(track(f"stage {run.plan.stage}", stage.steps, run.first)) if lead else None
    profiler = stack.enter_context(
        contextlib.closing(StepProfiler(stage.profile_steps if lead else None, folder / "trace.json"))
    )
    audit = None
    if stage.audit:
        audit = stack.enter_context(contextlib.closing(Audit(folder / "samples", run.first, worker.rank, worker.world)))
    meter = _Meter(run)
    stall_s = run.plan.job.cluster.stall_s
    reading = batches(
        run.store,
        run.order,
        run.first,
        stage.steps,
        worker.rank,
        worker.world,
        frame_sampler=run.moments,
        transform=run.ahead,
        device=worker.device,
        threads=1 if run.ahead is None else _WORKING_THREADS,
        stall_s=stall_s,
    )
    for step, raw in enumerate(stack.enter_context(contextlib.closing(reading)), run.first):
        profiler.before(step + 1)
        loss = run.stepper(step, raw)
        profiler.after(step + 1)
        position.step = done = step + 1
        if audit is not None:
            audit.write(done, raw.epochs_B, raw.samples_B)
        meter.add(loss)
        if stage.logged(done):
            values = meter.read(done)
            if run.stepper.watched is not None:
                values |= run.stepper.watched.read()
            if log is not None:
                log.write(done, **values)
            if bar is not None:
                bar.advance(meter.steps, f"loss {values['loss']:.4g}")
        improved = _validate(run, log) if stage.validate_ and done % stage.validate_.every == 0 else False
        asked = worker.checkpoint_now(done)
        if asked or improved or done % stage.checkpoint_every == 0 or run.ended:
            run.stepper.guard.check_weights(done, raw.samples_B)
            if run.writer is not None:
                run.writer.save(position, run.trained)
                if asked:
                    run.writer.wait()
            worker.saved(done, {"loss": float(loss) * worker.world})
            if asked:
                worker.leave(done)
        if run.ended:
            return


def _open_log(run: StageRun, folder: Path) -> StageLog:
    stage, job = run.plan.spec, run.plan.job
    params = {
        "data": stage.data,
        "backbone": stage.backbone.use,
        "head": stage.head.use,
        "batch_size": stage.batch_size,
        "steps": stage.steps,
        **stage.optimizer.model_dump(mode="json"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    log = StageLog(folder, run.first, open_trackers(job.trackers, folder, run.first, job.name, run.plan.stage, params))
    if log.undone > run.first:
        run.worker.continues(run.first, log.undone)
    return log


class _Meter:
    """Mean loss and speed between two log lines; the sum stays on the device, so that no step waits for it."""

    def __init__(self, run: StageRun) -> None:
        self._run, self._began = run, time.monotonic()
        self._sum = torch.zeros((), device=run.worker.device)
        self._last_step, self._last_time, self.steps = run.first, self._began, 0

    def add(self, loss: Tensor) -> None:
        self._sum += loss

    def read(self, done: int) -> dict[str, float]:
        """Values of a log line; every worker calls it at the same step."""
        stage = self._run.plan.spec
        self.steps = done - self._last_step
        mean = self._run.worker.total(float(self._sum)) / self.steps
        now = time.monotonic()
        speed = self.steps * stage.batch_size / (now - self._last_time)
        self._sum, self._last_step, self._last_time = torch.zeros_like(self._sum), done, now
        lr = rate(stage.optimizer, done - 1, stage.steps)
        return {"loss": mean, "lr": lr, "seconds": now - self._began, "samples_per_s": speed}


def _validate(run: StageRun, log: StageLog | None) -> bool:
    """Validates; returns whether the model is the best one so far and is to be kept."""
    validator, position = run.validator, run.position
    if validator is None:
        return False
    found = validator(run.inner if run.trained.average is None else run.trained.average.module)
    if log is not None:
        log.write(position.step, **found)
    value = found[f"validation_{validator.spec.metric}"]
    if validator.better(value, position.best):
        position.best, position.best_step, position.worse = value, position.step, 0
        return validator.spec.keep == "best"
    position.worse += 1
    return False
