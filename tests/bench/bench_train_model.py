"""The training of jobs/robust_faces.yaml compared with a plain PyTorch loop of the same: CPU time of a step.

Both loops train the same network on the same faces, which are decoded already, with flip, affine and brightness
augmentations, label smoothing, dropout, Nesterov momentum, a one-cycle schedule and an average of the weights, in
bfloat16. The times are CPU seconds of all threads, so that other programs change them little.
"""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from measuring import Row, interleaved, rate_rows, threads
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from blear.contracts import BuildContext, ClipSpec
from blear.data.loader import batches
from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data
from blear.plugin.memory_format import to_channels_last
from blear.storage.run_folder import RunFolder
from blear.train.plan import StagePlan
from blear.train.setup import StageRun, set_up
from blear.train.worker import LocalWorker
from blear_robust.params import PlainResNetParams
from blear_robust.plain_resnet import PlainResNet

JOB = Path(__file__).resolve().parents[2] / "jobs" / "robust_faces.yaml"
STEPS, BATCH = 3, 128
OVERRIDES = (
    "data.faces.stand_in.subjects={train: 16, dev: 2}",
    "data.faces.stand_in.per_subject=64",
    "stages.clean.backbone.start_from=null",
    "stages.clean.batch_size=128",
)


def measure() -> list[Row]:
    """Measures steps of both loops in turns, on one thread."""
    with tempfile.TemporaryDirectory() as folder, threads(1):
        os.environ["BLEAR_STORAGE"] = folder
        job, catalog = read_job(JOB, overrides=OVERRIDES)
        plan = StagePlan(job, "clean", RunFolder(Path(folder) / "run"), prepare_data(job, catalog, workers=1))
        run = set_up(plan, LocalWorker(torch.device("cpu")))
        stream = batches(run.store, run.sampler, 0, 10**6, transform=run.cpu_preprocessing)
        with closing(stream):
            arms = {"blear": _blear(run, stream), "plain loop": _plain(run)}
            seconds = interleaved(arms, repeats=9, warm=3, clock=time.process_time)
        return rate_rows(seconds, STEPS * BATCH, "images/s of CPU", "plain loop", "plain_resnet, 48 px, bfloat16, ")


def _blear(run: StageRun, stream: object) -> Callable[[], None]:
    steps = iter(range(10**6))

    def train() -> None:
        for _ in range(STEPS):
            run.stepper(next(steps), next(stream))  # type: ignore[call-overload]

    return train


class _Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = PlainResNet(PlainResNetParams(), BuildContext(clip=ClipSpec(1, 1, 48, 48)))
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(256, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.body(x[:, None])["embedding"][:, 0]))  # type: ignore[no-any-return]


def _plain(run: StageRun) -> Callable[[], None]:
    """Returns a function that performs some steps of a loop without blear's data path, chains and stepper."""
    raw = run.store.take(np.arange(len(run.store)))
    frames, truth = raw.frames[:, 0].float() / 255, raw.targets["emotion"]
    net = to_channels_last(_Net(7)).train()
    average = copy.deepcopy(net)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    groups = [{"params": decayed}, {"params": [p for p in net.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10**6)

    def train() -> None:
        for _ in range(STEPS):
            rows = torch.randint(0, len(frames), (BATCH,))
            with torch.autocast("cpu", torch.bfloat16):
                loss = cross_entropy(net(_augment(frames[rows])).float(), truth[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss.item()
            with torch.no_grad():
                for ours, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                    ours.lerp_(new, 0.002) if ours.is_floating_point() else ours.copy_(new)

    return train


def _augment(x: Tensor) -> Tensor:
    """Flip, rotation, scale, shift in one resampling; contrast and brightness."""
    n = len(x)
    angle, scale = (torch.rand(n) - 0.5) * 0.35, 1 + (torch.rand(n) - 0.5) * 0.3
    flip, right, down = (
        torch.where(torch.rand(n) < 0.5, -1.0, 1.0),
        torch.rand(n) / 4 - 0.125,
        torch.rand(n) / 4 - 0.125,
    )
    from_x = torch.stack([flip * scale * angle.cos(), -scale * angle.sin(), right], dim=1)
    from_y = torch.stack([flip * scale * angle.sin(), scale * angle.cos(), down], dim=1)
    grid = affine_grid(torch.stack([from_x, from_y], dim=1), list(x.shape), align_corners=False)
    moved = grid_sample(x, grid, padding_mode="border", align_corners=False)
    light = torch.rand(2, n, 1, 1, 1)
    return (moved * (0.7 + 0.6 * light[0]) + (light[1] - 0.5) * 0.3).clamp(0, 1)
