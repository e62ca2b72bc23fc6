"""Mixup, CutMix and the equal average of the last weights, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file

from blear.contracts import Batch
from blear.data.loader import batches
from blear.errors import RunError
from blear.job.schema import Mix
from blear.metrics import ccc
from blear.train.averaging import build_average, update_average
from blear.train.loop import train_stage
from blear.train.mixing import MixDraw, draw_mix, mix_batch
from blear.train.plan import StagePlan
from blear.train.setup import set_up
from blear.train.worker import LocalWorker

CPU = torch.device("cpu")
PLAIN = ("stages.clean.backbone.dropout=0", "stages.clean.optimizer={use: sgd, lr: 0.05, momentum: 0}")


@pytest.fixture
def batch() -> Batch:
    frames, clean = torch.rand(2, 3, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch(frames, clean, {"emotion": torch.tensor([0, 1, 2])})


def trained(plan: StagePlan) -> dict[str, np.ndarray]:
    train_stage(plan, LocalWorker(CPU))
    return load_file(plan.run.weights("clean"))


def test_mixup_averages_a_sample_with_its_mirrored_one(batch: Batch) -> None:
    mixed = mix_batch(batch, MixDraw(0.7, None))
    torch.testing.assert_close(mixed.batch.frames_BTCHW, 0.7 * batch.frames_BTCHW + 0.3 * batch.frames_BTCHW.flip(0))
    torch.testing.assert_close(mixed.batch.clean_BTCHW, 0.7 * batch.clean_BTCHW + 0.3 * batch.clean_BTCHW.flip(0))
    assert (mixed.share, mixed.batch.targets["emotion"].tolist()) == (0.7, [0, 1, 2])
    assert mixed.others.targets["emotion"].tolist() == [2, 1, 0]


def test_cutmix_takes_whole_pixels_and_their_share(batch: Batch) -> None:
    mixed = mix_batch(batch, MixDraw(0.5, (0.25, 0.75, 0.0, 0.5)))
    expected = batch.frames_BTCHW.clone()
    expected[..., 2:6, 0:4] = batch.frames_BTCHW.flip(0)[..., 2:6, 0:4]
    assert torch.equal(mixed.batch.frames_BTCHW, expected)
    assert mixed.share == 1 - 16 / 64


def test_draws_follow_their_distributions_and_depend_on_the_step_only() -> None:
    both = Mix(mixup=0.4, cutmix=1.0, p=0.8)
    draws = [draw_mix(both, 1, "stage", step) for step in range(4000)]
    assert draws[7] == draw_mix(both, 1, "stage", 7)
    assert draws[:50] != [draw_mix(both, 2, "stage", step) for step in range(50)]
    used = [draw for draw in draws if draw is not None]
    mixup = np.array([draw.share for draw in used if draw.box is None])
    cutmix = np.array([draw.share for draw in used if draw.box is not None])
    assert len(used) / 4000 == pytest.approx(0.8, abs=0.03)
    assert len(mixup) / len(used) == pytest.approx(0.5, abs=0.04)
    assert (mixup.mean(), mixup.var()) == pytest.approx((0.5, 0.25 / 1.8), abs=0.03)  # Beta(0.4, 0.4)
    assert (cutmix.mean(), cutmix.var()) == pytest.approx((0.5, 1 / 12), abs=0.03)  # Beta(1, 1)
    with pytest.raises(ValidationError, match="give `mixup`, `cutmix` or both"):
        Mix()


def test_mixed_training_differs_and_resumes_bit_by_bit(plan) -> None:
    options = (*PLAIN, "stages.clean.mix={mixup: 1, cutmix: 1}", "stages.clean.swa=0.5")
    whole = trained(plan("whole", *options))
    cut = plan("cut", *options)

    class Terminated(LocalWorker):
        def should_checkpoint(self, step: int) -> bool:
            return step == 3

    with pytest.raises(RunError, match="stopped by SIGTERM"):
        train_stage(cut, Terminated(CPU))
    resumed, alone = trained(cut), trained(plan("alone", *PLAIN, "stages.clean.swa=0.5"))
    assert all(np.array_equal(resumed[name], value) for name, value in whole.items())
    assert any(not np.array_equal(alone[name], value) for name, value in whole.items())


class Counted(torch.nn.Module):
    """Batch normalisation, which counts its batches, and an index."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(2)
        self.register_buffer("index", torch.arange(5, 9))
        self.register_buffer("mask", torch.tensor([True, False]))


def test_the_training_metric_compares_with_the_labels_of_the_larger_share(plan) -> None:
    mix = "stages.clean.mix={mixup: 1, cutmix: 1}"
    options = ("stages.clean.log_every=1", "stages.clean.backbone.dropout=0", mix)
    metric = "stages.clean.validate={every: 9, batches: 1, metric: ccc}"
    run = set_up(plan("mixed", *options, metric), LocalWorker(CPU))
    collected = run.stepper.training_metric
    assert collected is not None
    kinds = set()
    for step, raw in enumerate(
        batches(run.store, run.sampler, 0, 16, frame_sampler=run.frame_sampler, transform=run.cpu_preprocessing)
    ):
        drawn = draw_mix(Mix(mixup=1.0, cutmix=1.0), run.plan.job.seed, "clean", step)
        assert drawn is not None
        batch = run.stepper.preprocessing(raw)
        mixed = mix_batch(batch, drawn)
        kinds.add((drawn.box is None, mixed.share >= 0.5))
        with torch.no_grad():
            predicted = run.model.head.decode(run.model(mixed.batch.frames_BTCHW))["valence"].values_BT.ravel()
        labels = batch.targets["valence"]
        expected = ccc((labels if mixed.share >= 0.5 else labels.flip(0)).numpy(), predicted.numpy())
        run.stepper(step, raw)
        assert collected.compute() == {"training_ccc": pytest.approx(expected, abs=1e-5)}
    assert len(kinds) == 4


@pytest.mark.parametrize("average", [{"swa": 0.25}, {"ema": 0.9995}])
def test_averages_copy_what_is_no_float(plan, average: dict[str, float]) -> None:
    """Torch truncates an average of integers, and refuses an equal one."""
    stage = (
        plan("counted", *PLAIN).job.stages["clean"].model_copy(update={"swa": None, "ema": None, "steps": 4, **average})
    )
    model = Counted()
    averaged = build_average(model, stage)
    assert averaged is not None
    for step in range(4):
        with torch.no_grad():
            model.norm.weight.fill_(step)
            model.norm.num_batches_tracked.add_(1)
        update_average(averaged, model, stage, step)
    found = averaged.module
    assert torch.equal(found.index, model.index)
    assert torch.equal(found.mask, model.mask)
    assert found.norm.num_batches_tracked == 4
    expected = 2.0 if "swa" in average else sum(0.9995 ** (3 - n) * 0.0005 * n for n in range(1, 4))
    assert found.norm.weight.tolist() == pytest.approx([expected] * 2, rel=1e-4)


def test_swa_is_the_mean_of_the_weights_of_the_last_steps(plan) -> None:
    """Four steps, the average from half of them on: the mean of the weights after steps 3 and 4."""
    third, fourth = (trained(plan(f"s{n}", *PLAIN, f"stages.clean.steps={n}")) for n in (3, 4))
    average = trained(plan("average", *PLAIN, "stages.clean.steps=4", "stages.clean.swa=0.5"))
    for name, value in average.items():
        assert value == pytest.approx((third[name] + fourth[name]) / 2, abs=1e-7), name
    with pytest.raises(Exception, match="give `ema` or `swa`, not both"):
        plan("both", "stages.clean.swa=0.5", "stages.clean.ema=0.9")
