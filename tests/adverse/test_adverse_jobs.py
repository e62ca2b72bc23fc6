"""The job of robust adverse pre-training: every control of the method (spec, section 4), and one tiny run."""

import json

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from blear.job.reader import read_job
from blear.pipeline.run import run_job

FRONT = {"conv1", "bn1", "layer1"}
CONTROLS = {  # stage -> (the front's first weights, target degradation, rate of the front)
    "hq": (None, None, 1),
    "lq": (None, 4, 1),
    "frozen": ("restore", 4, 0),
    "rap": ("restore", 4, 0.1),
    "rap_aggressive": ("restore_heavier", 4, 0.1),
    "rap_autoencoder": ("autoencode", 4, 0.1),
}


@pytest.fixture(scope="module")
def path(repository):
    return repository / "jobs" / "enhance_adverse.yaml"


@pytest.mark.parametrize("profile", [None, "demo", "fer2013"])
def test_every_control(path, profile):
    job, _ = read_job(path, profile=profile)
    assert path.stat().st_mode & 0o100
    pre = {
        n: [use.params["factor"] for use in job.stages[n].degrade] for n in ("restore", "restore_heavier", "autoencode")
    }
    assert pre == {"restore": [4], "restore_heavier": [8], "autoencode": []}
    for name in pre:
        assert job.stages[name].backbone.params["until"] == job.stages[name].head.params["at"] == "layer1"
    for name, (source, factor, rate) in CONTROLS.items():
        stage = job.stages[name]
        assert [use.params["factor"] for use in stage.degrade] == ([] if factor is None else [factor])
        start = stage.backbone.start_from
        assert (start and start.stage) == source
        assert start is None or set(start.take) == FRONT
        frozen = stage.backbone.params.get("frozen") == "layer1"
        rates = set(stage.optimizer.scale_lr.values()) or {0 if frozen else 1}
        assert rates == {rate}
    arms = {label: (arm.stage, arm.restore, arm.clean) for label, arm in job.evaluate.arms.items()}
    assert arms["HQ on HQ"] == ("hq", None, True)
    assert arms["restore + HQ"] == ("hq", "restore", False)
    assert {stage for stage, _, _ in arms.values()} == set(CONTROLS)
    if profile is not None:  # pre-training is part of the same number of steps
        for name, (source, _, _) in CONTROLS.items():
            total = job.stages[name].steps + (job.stages[source].steps if source else 0)
            assert total == job.stages["hq"].steps


@pytest.mark.parametrize("profile", ["chain", "demo_chain"])
def test_mixed_conditions(path, profile):
    """The target is blur, loss of resolution, noise and JPEG in a chain; the heavier one is its whole range."""
    job, _ = read_job(path, profile=profile)
    plain, _ = read_job(path, profile=None if profile == "chain" else "demo")
    severities = {name: [use.params["severity"] for use in stage.degrade] for name, stage in job.stages.items()}
    targets = {name: [3] for name in ("restore", "lq", "frozen", "rap", "rap_aggressive", "rap_autoencoder")}
    assert severities == {"restore_heavier": [5], "autoencode": [], "hq": []} | targets
    assert {use.use for stage in job.stages.values() for use in stage.degrade} == {"corruptions/gfpgan"}
    assert (job.evaluate.sweep.use, job.evaluate.sweep.over) == ("corruptions/gfpgan", {"severity": [1, 2, 3, 4, 5]})
    assert [stage.steps for stage in job.stages.values()] == [stage.steps for stage in plain.stages.values()]


def test_the_job_runs_and_first_layers_are_transferred_or_frozen(path, storage):
    sets = [
        "data.*.stand_in.subjects={train: 2, dev: 2}",
        "data.*.stand_in.per_subject=8",
        "stages.*.backbone.width=0.0625",
        "stages.*.batch_size=8",
        "stages.*.steps=2",
        "evaluate.sweep.over={factor: [1, 4]}",
        "evaluate.resamples=20",
        "evaluate.faces=1",
    ]
    job, catalog = read_job(path, profile="demo", overrides=sets)
    run_job(job, catalog, runner="local", fresh=False, command="", profile="demo")
    stages = storage / "runs" / "enhance_adverse" / "stages"
    weights = {name: load_file(stages / name / "model.safetensors") for name in job.stages}
    front = [name for name in weights["restore"] if name.startswith("backbone.")]
    assert {name.split(".")[1] for name in front} == FRONT
    assert all(torch.equal(weights["frozen"][name], weights["restore"][name]) for name in front)  # statistics too
    for name, source in (("rap", "restore"), ("rap_aggressive", "restore_heavier"), ("rap_autoencoder", "autoencode")):
        found = json.loads((stages / name / "stage.json").read_text())
        assert (found["transfer"]["from"], len(found["transfer"]["taken"])) == (source, len(front))
        moved = (weights[name]["backbone.conv1.weight"] - weights[source]["backbone.conv1.weight"]).abs().max()
        assert 0 < moved < 0.05
    table = pq.read_table(storage / "runs" / "enhance_adverse" / "predictions.parquet").to_pandas()
    by = {key: part.set_index("sample")["prediction"] for key, part in table.groupby(["arm", "severity"])}
    assert (by["HQ on HQ", 4] == by["HQ on HQ", 1]).all()
    assert set(by) == {(arm, factor) for arm in job.evaluate.arms for factor in (1, 4)}


def tiny(repository, name, *more):
    sets = [
        "data.*.stand_in.subjects={train: 2, dev: 2}",
        "data.*.stand_in.per_subject=8",
        "stages.*.backbone.width=0.0625",
        "stages.*.batch_size=8",
        "stages.*.steps=2",
        "evaluate.resamples=20",
        "evaluate.faces=1",
        *more,
    ]
    job, catalog = read_job(repository / "jobs" / f"{name}.yaml", profile="demo", overrides=sets)
    run_job(job, catalog, runner="local", fresh=False, command="", profile="demo")
    return job


def table_of(storage, name):
    return pq.read_table(storage / "runs" / name / "predictions.parquet").to_pandas()


def test_one_model_for_all_factors_against_an_expert_for_each(repository, storage):
    job = tiny(
        repository, "max_mix", "stages.expert_{factor}.matrix.factor=[1, 8]", "evaluate.sweep.over={factor: [1, 8]}"
    )
    assert job.stages["restore"].degrade[0].params["factor"] == 8
    assert job.stages["max_mix"].steps + job.stages["restore"].steps == 4
    assert job.stages["mix"].backbone.start_from is None
    by = table_of(storage, "max_mix").groupby(["arm", "severity"])["stage"].unique().map(list).to_dict()
    assert by == {
        ("experts", 1): ["expert_1"],
        ("experts", 8): ["expert_8"],
        ("mix", 1): ["mix"],
        ("mix", 8): ["mix"],
        ("max-mix", 1): ["max_mix"],
        ("max-mix", 8): ["max_mix"],
        ("clean-trained", 1): ["expert_1"],
        ("clean-trained", 8): ["expert_1"],
    }


FAMILIES = ("noise", "blur", "weather", "digital", "resolution", "codec")


@pytest.mark.parametrize("profile", [None, "demo", "fer2013"])
def test_every_family_is_trained_on_and_tested(repository, profile):
    job, _ = read_job(repository / "jobs" / "robust_fer2013.yaml", profile=profile)
    assert list(job.stages) == ["clean", *FAMILIES, "all"]
    assert job.stages["clean"].degrade == []
    assert [member.p for member in job.stages["all"].degrade[0].members] == [0.8] * 6
    for family, member in zip(FAMILIES, job.stages["all"].degrade[0].members, strict=True):
        assert job.stages[family].degrade == [member]
        tested = {sweep.use for sweep in job.evaluate.sweeps.values() if sweep.group == {"family": family}}
        trained = {use.use.replace("scale_mix", "downscale") for use in member.members}
        assert tested
        assert tested == trained if profile is None else tested <= trained
    assert {stage.steps for stage in job.stages.values()} == {job.stages["clean"].steps}


def test_the_job_of_all_families_runs(repository, storage):
    tiny(
        repository,
        "robust_fer2013",
        "evaluate.sweep=[{use: impulse_noise, label: noise, over: {severity: [5]}}, "
        "{use: jpeg, label: jpeg, over: {quality: [5]}}]",
    )
    table = table_of(storage, "robust_fer2013")
    assert set(table["arm"]) == {"clean-trained", *FAMILIES, "all"}
    conditions = set(zip(table["condition"], table["severity"], strict=True))
    assert conditions == {("clean", 0), ("noise", 5), ("jpeg", 5)}
    assert len(table) == 8 * 3 * 16
