"""The jobs: published learning rates and weight decays by parameter; two arms from data to a fused table."""

import sys

import pytest
import torch
from dsn_models import build

from blear.cli import main
from blear.evaluate.predictions import read_predictions
from blear.job.reader import read_job
from blear.train.optimizer import build_optimizer
from blear.train.schedule import learning_rate

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


# base_lr, weight_decay, batch and max_iter of the authors' solvers; number of biases with decay_mult 0
SOLVERS = {
    "vgg": (5e-5, 5e-4, 16, 30_000, 24 + 13),
    "resnet": (0.01, 1e-4, 16, 30_000, 20),
    "vgg_face": (5e-4, 1e-4, 16, 20_000, 16),
    "densenet": (0.01, 1e-4, 8, 50_000, 2),
}
RATES = {  # gamma and stepvalue of the solvers: iteration -> learning rate
    "vgg": {0: 5e-5, 29_999: 5e-5},
    "resnet": {0: 0.01, 19_999: 0.01, 20_000: 0.005, 29_999: 0.005},
    "vgg_face": {0: 5e-4, 19_999: 5e-4},
    "densenet": {0: 0.01, 19_999: 0.01, 20_000: 0.001, 40_000: 0.001, 49_999: 0.001},
}


@pytest.mark.parametrize(
    ("name", "stage", "network"),
    [
        ("dsn_vgg", "dsn", "vgg"),
        ("dsn_resnet50", "dsn", "resnet"),
        ("dsn_densenet121", "plain", "densenet"),
        ("dsn_fusion", "dsn_vgg", "vgg"),
        ("dsn_fusion", "dsn_resnet", "resnet"),
        ("dsn_fusion", "densenet", "densenet"),
        ("dsn_fusion", "vgg_face", "vgg_face"),
    ],
)
def test_published_rates_and_decays(repository, name, stage, network):
    job, _ = read_job(repository / "jobs" / f"{name}.yaml")
    spec = job.stages[stage]
    rate, decay, batch, steps, plain_biases = SOLVERS[network]
    assert (spec.optimizer.momentum, spec.batch_size, spec.steps) == (0.9, batch, steps)
    learning_rates = {step: learning_rate(spec.optimizer, step, spec.steps) for step in RATES[network]}
    assert learning_rates == pytest.approx(RATES[network])
    with torch.device("meta"):
        model = build(spec.backbone.use, spec.head.use, backbone_params=spec.backbone.params)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    found = {}
    for group in build_optimizer(model, spec.optimizer).param_groups:
        for parameter in group["params"]:
            found[names[id(parameter)]] = (group["lr"] / rate, group["weight_decay"])
    spared = {name for name, (_, kept) in found.items() if kept == 0} - frozen
    assert len(spared) == plain_biases
    assert all(name.endswith(".bias") for name in spared)
    for full, (factor, kept) in found.items():
        part, last = full.rsplit(".", 1)
        slow = part.endswith((".conv_b", ".mix"))
        normalisation = network == "densenet" and full.startswith("backbone")  # no multipliers in the authors' file
        twice = last == "bias" and not normalisation
        if full not in frozen:
            assert factor == pytest.approx((0.1 if slow else 1.0) * (2 if twice else 1)), full
            assert kept == (0.0 if twice else decay), full


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
