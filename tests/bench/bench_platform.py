"""Cost of the platform: training steps of both runners compared with a plain PyTorch loop."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from measuring import Row, quartiles, threads
from networks import cnn5x5, step_of

from blear.data.decoded.store import Store
from blear.data.loader import sequential_batches
from blear.data.prepared import Prepared
from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data
from blear.separable import down_up_bank
from blear.storage.run_folder import RunFolder
from blear.train.loop import train_stage
from blear.train.on_ray.runner import train_on_ray
from blear.train.plan import StagePlan
from blear.train.worker import LocalWorker

FACTORS, BATCH, SIZE, WIDTH = (3, 4, 6), 128, 48, 0.25
LOG_EVERY, LOG_LINES = 25, 9
"""Steps of a log line, and number of lines; the first line includes the start-up and is not counted."""
REPEATS = 3
JOB = Path(__file__).resolve().parents[2] / "jobs" / "vlqr_hq.yaml"


def measure() -> list[Row]:
    """Uses one thread, as Ray does for a worker with one CPU."""
    with tempfile.TemporaryDirectory() as folder, threads(1):
        os.environ["BLEAR_STORAGE"] = folder
        plan = _plan(Path(folder))
        frames, targets = _read_split(plan)
        plain, local, on_ray = [], [], []
        with _ray_head(Path(folder)) as address:
            os.environ["RAY_ADDRESS"] = address
            for turn in range(REPEATS):
                plain += _plain_loop(frames, targets)
                local += _steps_per_s(plan, f"local-{turn}", on_ray=False)
                plain += _plain_loop(frames, targets)
                on_ray += _steps_per_s(plan, f"ray-{turn}", on_ray=True)
    reference = statistics.median(plain)
    what = f"CNN+D x {WIDTH}, {BATCH} x {SIZE} px, degraded, 1 thread, "
    rows = [Row(f"{what}plain PyTorch loop", reference, "steps/s", spread=quartiles(plain))]
    for name, speeds in (("local runner", local), ("Ray Train runner", on_ray)):
        median = statistics.median(speeds)
        ratio = median / reference
        rows.append(Row(what + name, median, "steps/s", ratio, "plain PyTorch loop", quartiles(speeds)))
    return rows


def _plan(folder: Path) -> StagePlan:
    overrides = [
        f"data.faces.stand_in.size={SIZE}",
        "data.faces.stand_in.subjects={train: 8, dev: 1}",
        "data.faces.stand_in.per_subject=128",
        f"stages.hq.backbone={{use: vlqr/cnn5x5, width: {WIDTH}}}",
        f"stages.hq.degrade=[{{use: scale_mix, factors: {list(FACTORS)}}}]",
        "stages.hq.optimizer={use: sgd, lr: 1.0e-4, momentum: 0.9, weight_decay: 5.0e-4}",
        "stages.hq.validate=null",
        f"stages.hq.batch_size={BATCH}",
        f"stages.hq.steps={LOG_EVERY * LOG_LINES}",
        f"stages.hq.log_every={LOG_EVERY}",
        "cluster.gpu=false",
        "cluster.channels_last=false",  # as in the plain loop
    ]
    job, catalog = read_job(JOB, overrides=overrides)
    return StagePlan(
        job, "hq", RunFolder(folder / "runs" / "none"), prepare_data(job, catalog, workers=1, runner="local")
    )


def _read_split(plan: StagePlan) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads the whole split: uint8 frames [N, T, C, H, W] and valence [N]."""
    prepared = Prepared.open(plan.prepared["faces"])
    with contextlib.closing(Store.open(prepared, prepared.splits[0])) as store:
        read = list(sequential_batches(store, 256))
    return torch.cat([raw.frames_BTCHW for raw in read]), torch.cat([raw.targets["valence"] for raw in read])


def _plain_loop(frames_N: torch.Tensor, targets_N: torch.Tensor) -> list[float]:
    """Steps per second of a plain PyTorch loop, one value for each `LOG_EVERY` steps."""
    step = step_of(cnn5x5(WIDTH, SIZE))
    bank = down_up_bank(FACTORS, SIZE, SIZE)
    permutation, speeds, start = torch.randperm(len(frames_N)), [], time.perf_counter()
    loss_sum = torch.zeros(())
    for number in range(1, LOG_EVERY * LOG_LINES + 1):
        if len(permutation) < BATCH:
            permutation = torch.cat([permutation, torch.randperm(len(frames_N))])
        samples, permutation = permutation[:BATCH], permutation[BATCH:]
        frames = bank(frames_N[samples].float().div_(255), torch.randint(len(FACTORS), (BATCH,)))
        loss_sum += step(frames, targets_N[samples])
        if number % LOG_EVERY == 0:
            float(loss_sum)
            now = time.perf_counter()
            speeds.append(LOG_EVERY / (now - start))
            start = now
    return speeds[1:]


def _steps_per_s(plan: StagePlan, name: str, *, on_ray: bool) -> list[float]:
    """Steps per second in each log line of one run of the stage."""
    root = plan.run.root.with_name(name)
    run = RunFolder.start(root, fresh=True)
    plan = StagePlan(plan.job, plan.stage, run, plan.prepared)
    if on_ray:
        import ray

        ray.init(logging_level="warning", log_to_driver=False)
        try:
            train_on_ray(plan)
        finally:
            ray.shutdown()
    else:
        train_stage(plan, LocalWorker(torch.device("cpu")))
    lines = (run.stage(plan.stage) / "log.jsonl").read_text().splitlines()
    return [line["samples_per_s"] / BATCH for line in map(json.loads, lines) if "samples_per_s" in line][1:]


@contextlib.contextmanager
def _ray_head(folder: Path) -> Iterator[str]:
    """Starts a Ray head on loopback with a new token; yields its address."""
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    port, dashboard = _free_port(), _free_port()
    arguments = ["start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=2"]
    arguments += ["--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"]
    with (folder / "head.log").open("w") as log:
        command = [str(Path(sys.executable).with_name("ray")), *arguments]
        head = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(120):
            if head.poll() is not None:
                raise RuntimeError(f"the Ray head ended:\n{(folder / 'head.log').read_text()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(1)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        try:
            head.wait(60)
        except subprocess.TimeoutExpired:  # it may wait for a cluster that is gone
            head.kill()
            head.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
