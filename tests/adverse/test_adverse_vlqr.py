"""VLQR as a special case of the general method: equal networks, losses, steps and stages."""

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from blear.contracts import Batch, BuildContext, ClipSpec, Target
from blear.job.reader import read_job
from blear.pipeline.run import run_job
from blear.plugin.discovery import load_plugins

RENAMED = {"conv4": "last"}
"""VLQR's name of the extra layer -> the general one."""


def built(slot, use, context, **params):
    torch.manual_seed(7)
    return load_plugins().get(slot, use).build(params, context)


def pair(size, **mean):
    """(VLQR's, the general) recogniser, front and extra layer, published sizes."""
    context = BuildContext(
        clip=ClipSpec(1, 1, size, size), targets={"valence": Target("valence", "value", bounds=(-1, 1))}
    )
    recognisers = built("backbone", "vlqr/cnn5x5", context, **mean), built("backbone", "adverse/cnn", context, **mean)
    fronts = (
        built("backbone", "vlqr/srcnn5x5", context, **mean),
        built("backbone", "adverse/cnn", context, until="conv3", pools=[1, 1, 1], init="gaussian", **mean),
    )
    side = size - 12
    with_map = BuildContext(clip=context.clip, features={"map": (1, 256, side, side), "conv3": (1, 256, side, side)})
    extra = {"at": "conv3", "stride": 1, "channels": [], "kernel": 5, "padded": False}
    extras = (
        built("head", "vlqr/super_resolution", with_map),
        built("head", "adverse/restoration", with_map, loss="caffe", init="gaussian", **extra),
    )
    return recognisers, fronts, extras


def parameters(module):
    names = ((RENAMED.get(name.split(".")[0], name.split(".")[0]), name) for name, _ in module.named_parameters())
    return {f"{new}.{name.split('.')[1]}": module.get_parameter(name) for new, name in names}


def same(ours, theirs, tolerance=0.0):
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=tolerance, atol=tolerance, msg=name)


def test_the_same_parameters_from_the_same_seed():
    recognisers, fronts, extras = pair(96)
    for theirs, ours in (recognisers, fronts, extras):
        same(parameters(ours), parameters(theirs))
    assert sum(p.numel() for p in recognisers[1].parameters()) + 300 + 1 == 2_946_649
    assert sum(p.numel() for m in (fronts[1], extras[1]) for p in m.parameters()) == 1_032_449


@pytest.mark.parametrize("mean", [{}, {"mean": 0.45, "std": 0.25}])
def test_one_step_of_restoration(mean):
    _, fronts, extras = pair(32, **mean)
    torch.manual_seed(1)
    degraded, clean = torch.rand(4, 1, 1, 32, 32), torch.rand(4, 1, 1, 32, 32)
    data = Batch(degraded, clean, {})
    losses = []
    for front, extra in zip(fronts, extras, strict=True):
        for module in (front, extra):
            for parameter in module.parameters():  # deviation 0.001 makes outputs too small to compare anything
                parameter.data.mul_(20)
        outputs = extra(front(degraded))
        assert outputs.shape == (4, 1, 1, 16, 16)
        loss = extra.loss(outputs, data)
        optimizer = torch.optim.SGD([*front.parameters(), *extra.parameters()], lr=1e-3, momentum=0.9)
        loss.backward()
        optimizer.step()
        losses.append(loss)
    torch.testing.assert_close(losses[1], losses[0])
    for theirs, ours in (fronts, extras):
        same(parameters(ours), parameters(theirs), 1e-6)


def test_one_step_of_recognition():
    recognisers, _, _ = pair(96)
    torch.manual_seed(1)
    frames, valence = torch.rand(4, 1, 1, 96, 96), torch.rand(4)
    embeddings = []
    for network in recognisers:
        torch.manual_seed(2)  # the same units are dropped
        embedding = network(frames)["embedding"]
        loss = (embedding.mean(dim=(1, 2)) - valence).square().sum() / 8
        torch.optim.SGD(network.parameters(), lr=0.01, weight_decay=5e-4).zero_grad()
        loss.backward()
        embeddings.append(embedding)
    torch.testing.assert_close(embeddings[1], embeddings[0])
    gradients = [{name: p.grad for name, p in parameters(network).items()} for network in recognisers]
    same(gradients[1], gradients[0], 1e-6)


JOB = """
name: {name}
data:
  faces: &faces
    use: faces/procedural
    size: 48
    color: luma
    targets: [valence]
    subjects: {{train: 2, dev: 1}}
    per_subject: 8
  photos: *faces
stages:
  restored:
    data: photos
    augment: [{{use: random_crop, size: 32}}]
    degrade: [{{use: downscale, factor: 3}}]
    backbone: {front}
    head: {extra}
    optimizer: {{use: sgd, lr: 1.0e-4, scale_lr: {{"{last}.*": 0.1, "*.bias": 0.1}}}}
    batch_size: 8
    steps: 3
  joint:
    data: faces
    degrade: [{{use: scale_mix, factors: [3, 4, 6]}}]
    backbone: {{use: {recogniser}, width: 0.125, start_from: {{stage: restored, take: [conv1, conv2, conv3]}}}}
    head: {{use: vlqr/valence}}
    optimizer:
      use: sgd
      lr: 0.01
      weight_decay: 5.0e-4
      scale_lr: {{"conv*.weight": 0.1, "conv*.bias": 0.2, "*.bias": 2}}
    batch_size: 8
    steps: 3
evaluate:
  sweep: {{use: downscale, over: {{factor: [1, 4]}}}}
  arms:
    joint: {{stage: joint}}
    two-step: {{stage: joint, restore: restored}}
  resamples: 20
  faces: 1
"""
CASES = {
    "vlqr": {
        "front": "{use: vlqr/srcnn5x5, width: 0.125, init: xavier}",
        "extra": "{use: vlqr/super_resolution, init: xavier}",
        "last": "conv4",
        "recogniser": "vlqr/cnn5x5",
    },
    "general": {
        "front": "{use: adverse/cnn, width: 0.125, until: conv3, pools: [1, 1, 1]}",
        "extra": "{use: adverse/restoration, at: conv3, stride: 1, channels: [], kernel: 5, padded: false, loss: caffe,"
        " init: xavier}",
        "last": "last",
        "recogniser": "adverse/cnn",
    },
}


def test_the_stages_of_a_job_train_the_same(storage, tmp_path):
    """Restoration, transfer by names, joint training at a tenth of the rate in the front: whole jobs, same weights."""
    weights, predictions = {}, {}
    for name, parts in CASES.items():
        (tmp_path / f"{name}.yaml").write_text(JOB.format(name=name, **parts))
        job, catalog = read_job(tmp_path / f"{name}.yaml")
        run_job(job, catalog, runner="local", fresh=False, command="", profile=None)
        run = storage / "runs" / name
        weights[name] = {stage: load_file(run / "stages" / stage / "model.safetensors") for stage in job.stages}
        predictions[name] = pq.read_table(run / "predictions.parquet").to_pandas()
    theirs = weights["vlqr"]["restored"]
    ours = {key.replace("last", "conv4"): value for key, value in weights["general"]["restored"].items()}
    assert sorted(ours) == sorted(theirs)
    for stage, pair in (
        ("restored", (ours, theirs)),
        ("joint", (weights["general"]["joint"], weights["vlqr"]["joint"])),
    ):
        assert pair[0].keys() == pair[1].keys()
        for name, value in pair[0].items():
            torch.testing.assert_close(value, pair[1][name], rtol=1e-5, atol=1e-7, msg=f"{stage}: {name}")
    moved = (
        weights["general"]["joint"]["backbone.conv1.weight"] - weights["general"]["restored"]["backbone.conv1.weight"]
    )
    assert 0 < moved.abs().max() < 0.01  # transferred, then trained on
    for column in ("arm", "severity", "sample"):
        assert list(predictions["vlqr"][column]) == list(predictions["general"][column])
    both = [predictions[name]["prediction"].to_numpy() for name in CASES]
    assert both[0] == pytest.approx(both[1], abs=1e-5)
