"""Consistency between two degradations, and auxiliary batch normalisation, against their definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.spatial.distance import jensenshannon

from blear.contracts import Batch, BuildContext, Categories, ClipSpec, Images, Values
from blear.data.raw_batch import RawBatch
from blear.degradation.chain import Chain, as_float, build_chain
from blear.errors import JobError, RunError
from blear.job.reader import read_job
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationUse
from blear.train.auxiliary_norm import (
    AuxiliaryBatchNorm2d,
    add_auxiliary,
    degraded_samples,
    remove_auxiliary,
    second_set,
)
from blear.train.consistency import consistency_loss
from blear.train.loop import train_stage
from blear.train.plan import StagePlan
from blear.train.preprocessing import Preprocessing, micro_batches
from blear.train.worker import LocalWorker

CPU = torch.device("cpu")


def test_the_divergence_is_that_of_scipy() -> None:
    p_BTK = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(0)).double().softmax(-1)
    values = torch.tensor([[1.0], [3.0], [0.0], [0.0]])
    pairs = [jensenshannon(p_BTK[n, t], p_BTK[n + 1, t]) ** 2 for n in (0, 2, 4) for t in (0, 1)]
    categories = {"emotion": Categories(("a", "b", "c"), p_BTK)}
    assert consistency_loss(categories, "here").item() == pytest.approx(np.mean(pairs), rel=1e-5)
    both = consistency_loss({**categories, "valence": Values(values)}, "here")
    assert both.item() == pytest.approx((np.mean(pairs) + 2**2 / 2 / 2) / 2, rel=1e-5)
    with pytest.raises(JobError, match="target 'face' is no class and no value"):
        consistency_loss({"face": Images(torch.rand(2, 1, 1, 4, 4))}, "stages.s.consistency")


@pytest.mark.parametrize("uses", [["noise"], ["codec/jpeg", "noise"]])
def test_two_views_of_a_sample_have_one_augmentation_and_two_degradations(uses: list[str]) -> None:
    catalog = load_plugins()
    context = BuildContext(0, ClipSpec(1, 1, 16, 16), {})
    flip, _ = build_chain(catalog, [DegradationUse.model_validate({"use": "random_flip"})], context)
    given = {"noise": {"use": "noise", "sigma": [5, 30]}, "codec/jpeg": {"use": "codec/jpeg", "quality": [5, 40, 90]}}
    degradations = [DegradationUse.model_validate(given[use]) for use in uses]
    degrade, _ = build_chain(catalog, degradations, context, first=1)
    pixels = torch.randint(0, 256, (5, 1, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    raw = RawBatch(np.full(5, 3), np.arange(5), pixels, None, {"emotion": torch.arange(5)})
    one = Preprocessing(flip, degrade, CPU)(raw, 0.5)
    two = Preprocessing(flip, degrade, CPU, views=2)(raw, 0.5)
    assert torch.equal(two.frames_BTCHW[0::2], one.frames_BTCHW)
    assert torch.equal(two.clean_BTCHW[0::2], one.clean_BTCHW)
    assert torch.equal(two.clean_BTCHW[1::2], one.clean_BTCHW)
    assert not (two.frames_BTCHW[1::2] == one.frames_BTCHW).flatten(1).all(dim=1).any()
    assert two.targets["emotion"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    ahead, rest = Preprocessing(flip, degrade, CPU, views=2).split_cpu(steps=2)
    assert (ahead is None) == (uses == ["noise"])
    prepared = raw if ahead is None else ahead(1, raw)
    parts = micro_batches(prepared, 3)
    assert [len(part.samples_B) // part.views for part in parts] == [1, 2, 2]
    frames = torch.cat([rest(part, 0.5).frames_BTCHW for part in parts])
    assert torch.equal(frames, two.frames_BTCHW)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_frames_from_the_reading_threads_equal_their_clean_clips_on_a_gpu() -> None:
    """Samples that no degradation has changed are not degraded: both are divided by 255 alike."""
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 16, 16)
    raw = RawBatch(np.zeros(1), np.zeros(1), as_float(pixels, CPU), pixels, {})
    batch = Preprocessing(Chain([], 0), Chain([], 0), torch.device("cuda"))(raw)
    assert degraded_samples(batch).tolist() == [False]


# the tiny stage of vlqr, with a network that has batch normalisations
PLAIN = (
    "stages.clean.backbone={use: robust/plain_resnet, channels: [4, 8], blocks: [0, 1]}",
    "stages.clean.optimizer={use: sgd, lr: 0.05}",
)
PLAIN += ("stages.clean.degrade=[{p: 0.5, chain: [{use: noise, sigma: [5, 30]}]}]", "stages.clean.ema=0.5")
CONSISTENCY, NORM = "stages.clean.consistency=4", "stages.clean.auxiliary_norm=true"


def trained(plan: StagePlan) -> dict[str, np.ndarray]:
    train_stage(plan, LocalWorker(CPU))
    return load_file(plan.run.weights("clean"))


def test_training_differs_resumes_bit_by_bit_and_has_the_same_weights(plan) -> None:
    whole, alone = trained(plan("whole", *PLAIN, CONSISTENCY, NORM)), trained(plan("alone", *PLAIN))
    assert whole.keys() == alone.keys()  # no second set of scales
    assert any(not np.array_equal(alone[name], value) for name, value in whole.items())
    cut = plan("cut", *PLAIN, CONSISTENCY, NORM)

    class Terminated(LocalWorker):
        def should_checkpoint(self, step: int) -> bool:
            return step == 3

    with pytest.raises(RunError, match="stopped by SIGTERM"):
        train_stage(cut, Terminated(CPU))
    resumed = trained(cut)
    assert all(np.array_equal(resumed[name], value) for name, value in whole.items())


def test_consistency_does_not_depend_on_micro_batches(plan) -> None:
    steady = ("stages.clean.backbone.dropout=0", CONSISTENCY, *PLAIN[1:3])
    whole, micro = trained(plan("whole", *steady)), trained(plan("micro", *steady, "stages.clean.accumulate=3"))
    for name, value in whole.items():
        assert micro[name] == pytest.approx(value, abs=1e-6), name


def test_degraded_samples_use_the_second_set_and_all_share_the_statistics() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Flatten())
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Flatten())
    add_auxiliary(model, "stage")
    layer = model[0]
    assert isinstance(layer, AuxiliaryBatchNorm2d)
    with torch.no_grad():
        layer.auxiliary_weight.fill_(2.0)
        layer.auxiliary_bias.fill_(5.0)
    clean = torch.rand(4, 1, 3, 5, 5)
    frames = clean.clone()
    frames[[1, 3], 0, 0, 2, 2] += 0.1
    degraded = degraded_samples(Batch(frames, clean, {}))
    assert degraded.tolist() == [False, True, False, True]
    x = torch.rand(8, 3, 5, 5)  # two frames of each of four clips
    with second_set(model, degraded):
        found = model(x).view(4, 2, -1)
    expected = plain(x).view(4, 2, -1)
    torch.testing.assert_close(found[0::2], expected[0::2])
    torch.testing.assert_close(found[1::2], expected[1::2] * 2 + 5)
    torch.testing.assert_close(layer.running_var, plain[0].running_var)
    assert layer.num_batches_tracked == plain[0].num_batches_tracked == 1
    remove_auxiliary(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(model.eval()(x), plain.eval()(x))
    with pytest.raises(JobError, match="the model has no torch"):
        add_auxiliary(torch.nn.Linear(1, 1), "stage")


def test_the_second_set_changes_neither_frozen_nor_shared_layers() -> None:
    norm = torch.nn.BatchNorm2d(3).requires_grad_(False)
    model = torch.nn.Sequential(torch.nn.Sequential(norm), torch.nn.Sequential(norm, norm))
    add_auxiliary(model, "stage")
    assert model[0][0] is model[1][0] is model[1][1] is norm
    assert isinstance(norm, AuxiliaryBatchNorm2d)
    assert len(list(model.parameters())) == 4
    assert not any(parameter.requires_grad for parameter in model.parameters())
    remove_auxiliary(model)
    assert type(norm) is torch.nn.BatchNorm2d
    assert [name for name, _ in norm.named_parameters()] == ["weight", "bias"]
    assert not norm.weight.requires_grad


def test_a_compiled_model_has_no_second_set(repository: Path) -> None:
    overrides = ["cluster.compile=true", "stages.robust.auxiliary_norm=true"]
    with pytest.raises(JobError, match=r"stages\.robust\.auxiliary_norm: cannot be compiled"):
        read_job(repository / "jobs" / "robust_faces.yaml", overrides=overrides)
