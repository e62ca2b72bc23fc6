"""The jobs: published learning rates and weight decays by parameter; two arms from data to a fused table."""

import sys

import pytest
import torch
from dsn_models import build

from blear.cli import main
from blear.evaluate.predictions import read_predictions
from blear.job.reader import read_job
from blear.train.optimizer import build_optimizer

DECAYS = {"dsn_vgg": (5e-5, 5e-4), "dsn_resnet50": (0.01, 1e-4)}
TINY = {
    "data.*.stand_in.size": "48",
    "data.*.stand_in.subjects": "{train: 1, dev: 3}",
    "data.*.stand_in.per_subject": "4",
    "data.*.stand_in.frames": "2",
    "stages.*.augment.0.size": "40",
    "stages.*.backbone.size": "40",
    "stages.*.backbone.width": "0.0625",
    "stages.dsn.head.width": "0.0625",
    "stages.*.batch_size": "4",
    "stages.*.steps": "2",
    "stages.*.log_every": "1",
    "stages.*.validate.every": "2",
    "stages.*.validate.batches": "1",
    "evaluate.sweep.over": "{factor: [1, 4]}",
    "evaluate.resamples": "10",
    "evaluate.faces": "1",
}


@pytest.mark.parametrize("name", DECAYS)
def test_published_rates_and_decays(repository, name):
    job, _ = read_job(repository / "jobs" / f"{name}.yaml")
    stage = job.stages["dsn"]
    assert (stage.optimizer.momentum, stage.batch_size, stage.steps) == (0.9, 16, 30_000)
    with torch.device("meta"):
        model = build(stage.backbone.use, stage.head.use, backbone_params=stage.backbone.params)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rate, decay = DECAYS[name]
    found = {}
    for group in build_optimizer(model, stage.optimizer).param_groups:
        for parameter in group["params"]:
            found[names[id(parameter)]] = (group["lr"] / rate, group["weight_decay"])
    expected = {}
    for full in names.values():
        part, last = full.rsplit(".", 1)
        slow = part.endswith((".conv_b", ".mix"))
        factor = (0.1 if slow else 1.0) * (2 if last == "bias" else 1)
        trunk_bias = name == "dsn_vgg" and full.startswith("backbone.") and last == "bias"
        expected[full] = (pytest.approx(factor), 0.0 if trunk_bias else decay)
    assert found == expected


@pytest.mark.parametrize("name", ["dsn_vgg", "dsn_resnet50", "dsn_densenet121", "dsn_fusion"])
def test_jobs_and_their_demos_are_correct(repository, name):
    file = repository / "jobs" / f"{name}.yaml"
    assert file.stat().st_mode & 0o100
    job, _ = read_job(file)
    assert (job.name, job.data["faces"].use, job.data["clips"].use) == (name, "dsn/raf_db", "dsn/face_list")
    demo, _ = read_job(file, profile="demo")
    assert max(stage.steps for stage in demo.stages.values()) <= 1000


def test_two_arms_from_data_to_a_fused_table(repository, storage, monkeypatch, capsys):
    def blear(*arguments):
        monkeypatch.setattr(sys, "argv", ["blear", *map(str, arguments)])
        main()

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    sets = [part for path, value in TINY.items() for part in ("--set", f"{path}={value}")]
    blear("run", repository / "jobs" / "dsn_resnet50.yaml", "--profile", "demo", *sets)
    run = storage / "runs" / "dsn_resnet50"
    blear("ensemble", run, "--out", storage / "fused", "--weights", "search")
    table = read_predictions(storage / "fused" / "predictions.parquet").to_pandas()
    arms = ["ResNet-50", "DSN-ResNet-50", "fused (cross-validated)"]
    assert list(table["arm"].unique()) == arms
    assert len(table) == len(arms) * 2 * 12  # levels; clips of three people
    assert table["probabilities"].map(sum).to_numpy() == pytest.approx(1, abs=1e-5)
    assert "cross-validated in 3 folds" in capsys.readouterr().out
