"""A model with several targets: every one is trained, validated, tested, summarised, reported and compared."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from blear.cli import main
from blear.contracts import Batch, BuildContext, Categories, Target, Values
from blear.errors import JobError
from blear.evaluate.compare import compare_runs
from blear.evaluate.summary import read_summary
from blear.job.reader import read_job
from blear.metrics import CLASSIFICATION, DISTRIBUTION, REGRESSION
from blear.pipeline.dry_run import dry_run
from blear.pipeline.prepare import prepare_data
from blear.plugin.decoded_targets import find_metric, metric_names, target_metrics
from blear.search.configuration import TrialContext, evaluate_configuration, objective_metrics, train_configuration
from blear.search.objective import ObjectiveEvaluator
from blear.storage.run_folder import RunFolder
from blear.testing import NonconformityError, NotCheckedError, checks_of
from blear.train.head_group import HeadGroup
from blear.train.model import evaluated_targets
from blear.train.plan import StagePlan
from blear.train.setup import set_up
from blear.train.worker import LocalWorker

FEWER = ("--set", "evaluate.sweep.over.factor=[1, 4]")


def run(file: Path, storage: Path, *arguments: str) -> Path:
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setenv("BLEAR_STORAGE", str(storage))
        context.delenv("RAY_ADDRESS", raising=False)
        context.setattr(sys, "argv", ["blear", "run", str(file), *arguments])
        main()
    return storage / "runs"


@pytest.fixture(scope="module")
def affect(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The run folder of the tiny `jobs/affect.yaml`."""
    storage = tmp_path_factory.mktemp("affect")
    return run(repository / "jobs" / "affect.yaml", storage, "--profile", "tiny", *FEWER) / "affect"


def predictions(folder: Path) -> pd.DataFrame:
    return pq.read_table(folder / "predictions.parquet").to_pandas()


def test_every_target_has_predictions_and_a_summary(affect: Path) -> None:
    table, summary = predictions(affect), read_summary(affect / "summary.json")
    assert list(table["target"].unique()) == ["emotion", "valence", "arousal"]
    assert [summary.target, *(each.target for each in summary.other_targets)] == ["emotion", "valence", "arousal"]
    for each, metrics in zip((summary, *summary.other_targets), (CLASSIFICATION, REGRESSION, REGRESSION), strict=True):
        assert [m.name for m in each.metrics] == [m.name for m in metrics]
        assert (bool(each.classes), bool(each.confusion), bool(each.calibration)) == (each.target == "emotion",) * 3
        for (arm, condition, severity), rows in table[table["target"] == each.target].groupby(
            ["arm", "condition", "severity"]
        ):
            assert len(rows) == 4 * 16
            for metric in metrics:
                found = each.estimate(arm, condition, severity, metric.name)
                expected = metric.compute(rows["truth"].to_numpy(), rows["prediction"].to_numpy())
                assert found.value == pytest.approx(expected, abs=1e-12)
                assert found.low <= found.value <= found.high
        assert {(t.arm, t.severity) for t in each.tests} >= {("mix-trained", s) for s in (1, 4)}


def test_the_last_step_is_validated_and_the_best_kept_by_the_named_metric(affect: Path) -> None:
    lines = [json.loads(line) for line in (affect / "stages" / "mix" / "log.jsonl").read_text().splitlines()]
    validated = {line["step"]: line for line in lines if "validation_loss" in line}
    names = ["validation_emotion.accuracy", "validation_valence.ccc", "validation_arousal.ccc"]
    assert list(validated) == [2, 4]
    assert all(set(names) < line.keys() for line in validated.values())
    assert [line["step"] for line in lines if "training_emotion.accuracy" in line] == [2, 4]
    stage = json.loads((affect / "stages" / "mix" / "stage.json").read_text())
    best = max((2, 4), key=lambda step: (validated[step][names[0]], -step))
    assert (stage["weights_of_step"], stage["head"], list(stage["heads"])) == (best, None, ["emotion", "affect"])


def test_the_report_has_the_sections_of_every_target(affect: Path) -> None:
    page = (affect / "report.html").read_text()
    for anchor in ("robustness", "valence-robustness", "arousal-robustness", "confusion", "valence-mistakes"):
        assert page.count(f'<section id="{anchor}">') == 1
    assert "<h2>Robustness: valence</h2>" in page
    assert "targets emotion, valence, arousal" in page
    assert re.search(r"mix-trained reaches Accuracy of emotion 0\.\d", page)
    assert "valence-confusion" not in page
    figures = {file.name for file in (affect / "figures").iterdir()}
    assert {"robustness.csv", "valence-robustness.csv", "arousal-robustness.svg"} <= figures
    rows = pd.read_csv(affect / "figures" / "arousal-robustness.csv")
    assert set(rows["metric"]) == {"ccc", "rmse", "cc"}


def test_runs_are_compared_on_every_common_target(affect: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(affect, other)
    summary = compare_runs([f"{affect}:mix-trained", f"{other}:mix-trained"], resamples=20)
    assert [each.target for each in (summary, *summary.other_targets)] == ["emotion", "valence", "arousal"]
    assert {d.value for each in (summary, *summary.other_targets) for d in each.differences} == {0.0}
    own = json.loads((other / "summary.json").read_text())
    valence = own["other_targets"][0] | {"other_targets": []}
    (other / "summary.json").write_text(json.dumps(valence))  # as a run that has valence only
    both = compare_runs([f"{affect}:mix-trained", f"{other}:mix-trained"], resamples=20)
    assert (both.target, both.other_targets) == ("valence", [])


def test_the_loss_is_the_weighted_sum_and_its_gradient_that_of_the_parts(affect: Path, repository: Path) -> None:
    job, catalog = read_job(affect / "job.yaml")
    targets = {
        "emotion": Target("emotion", "class", ("a", "b", "c")),
        "valence": Target("valence", "value"),
        "arousal": Target("arousal", "value"),
    }
    context = BuildContext(0, targets=targets, features={"embedding": (1, 8)})
    uses = job.stages["mix"].heads
    torch.manual_seed(0)
    heads = {name: catalog.get("head", use.use).build(use.params, context) for name, use in uses.items()}
    features = {"embedding": torch.randn(5, 1, 8)}
    group = HeadGroup(heads, {name: use.weight for name, use in uses.items()}, features, targets, "heads")
    labels = {"emotion": torch.tensor([0, 1, 2, 0, 1]), "valence": torch.rand(5), "arousal": torch.rand(5)}
    batch = Batch(torch.empty(0), torch.empty(0), labels)
    group.loss(group(features), batch).backward()
    parts = [heads[name].loss(heads[name](features), batch) for name in heads]
    for weight, name, part in zip((1, 2), heads, parts, strict=True):
        expected = torch.autograd.grad(part, heads[name].linear.weight)[0] * weight
        torch.testing.assert_close(heads[name].linear.weight.grad, expected)
    assert {name for name, _ in group.named_parameters()} == {
        f"{name}.linear.{of}" for name in heads for of in ("weight", "bias")
    }
    assert list(group.decode(group(features))) == ["emotion", "valence", "arousal"]
    again = heads | {"again": heads["emotion"]}
    with pytest.raises(JobError, match="the heads 'emotion' and 'again' both decode the target 'emotion'"):
        HeadGroup(again, dict.fromkeys(again, 1.0), features, targets, "heads")
    with pytest.raises(JobError, match="a head cannot be called 'loss'"):
        HeadGroup({"loss": heads["emotion"]}, {"loss": 1.0}, features, targets, "heads")


def test_a_search_optimises_the_metric_of_a_target(affect: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("BLEAR_STORAGE", str(affect.parents[1]))
    search = "search={space: {stages.mix.optimizer.lr: {log: [0.001, 0.01]}}, stage: mix, split: dev, objective: "
    search += "[{use: mean}, {use: worst, metric: arousal.rmse}]}"
    job, catalog = read_job(affect / "job.yaml", overrides=[search, "stages.mix.steps=2"])
    prepared = prepare_data(job, catalog, workers=1)
    (tmp_path / "base.yaml").write_text((affect / "job.yaml").read_text())
    context = TrialContext(tmp_path / "base.yaml", tmp_path, prepared, "mix", "dev", (), False)
    metrics = objective_metrics(context, job, RunFolder(affect), job.search.objective)
    assert [(m.target, m.name, m.higher_is_better) for m in metrics] == [
        ("emotion", "accuracy", True),
        ("arousal", "rmse", False),
    ]
    evaluator = ObjectiveEvaluator(tuple(job.search.objective), metrics)
    train_configuration(context, job, RunFolder(tmp_path / "trial"))
    curves = evaluate_configuration(context, job, RunFolder(tmp_path / "trial"), metrics)
    assert evaluator(curves)["worst arousal.rmse"] == -max(v for (c, _), v in curves[1].items() if c != "clean")
    wrong = job.search.objective[1].model_copy(update={"metric": "arousal.accuracy"})
    with pytest.raises(JobError, match=r"no metric 'arousal\.accuracy'\n  -> choose one of: emotion\.accuracy"):
        objective_metrics(context, job, RunFolder(affect), [wrong])


def test_mistakes_in_a_job_are_named(affect: Path) -> None:
    def problem(*overrides: str) -> str:
        with pytest.raises(JobError) as caught:
            read_job(affect / "job.yaml", overrides=overrides)
        return str(caught.value)

    assert "give `head` or `heads`, one of them" in problem("stages.mix.head={use: fer/emotion}")
    assert "did you mean" in problem("stages.mix.heads.emotion.use=fer/emotoin")
    assert "stages.mix.heads.emotion" in problem("stages.mix.heads.emotion.size=3")
    assert "stages.mix.heads.emotion.weight" in problem("stages.mix.heads.emotion.weight=0")


def test_metrics_of_a_head_are_those_of_the_kind_of_each_target() -> None:
    decoded = {
        "a": Categories(("x", "y"), torch.ones(1, 1, 2) / 2),
        "v": Values(torch.zeros(1, 1)),
        "b": Categories(("x", "y"), torch.ones(1, 1, 2) / 2),
        "d": Categories(("x", "y"), torch.ones(1, 1, 2) / 2),
    }
    targets = {"d": Target("d", "distribution", ("x", "y"))}

    class Some:
        given: object = CLASSIFICATION[1:]

        def metrics(self) -> object:
            return self.given

    found = target_metrics(Some(), decoded, targets)
    assert found == {"a": CLASSIFICATION[1:], "v": REGRESSION, "b": CLASSIFICATION[1:], "d": DISTRIBUTION}
    assert find_metric(found, "accuracy") == ("d", DISTRIBUTION[1])
    assert find_metric(found, "v.ccc") == ("v", REGRESSION[0])
    assert find_metric(found, "v.accuracy") is None
    assert metric_names({"a": CLASSIFICATION[:1]}) == ["accuracy"]
    Some.given = {"v": REGRESSION[1:2], "a": ()}
    assert target_metrics(Some(), decoded, targets) == {"v": REGRESSION[1:2], "b": CLASSIFICATION, "d": DISTRIBUTION}
    Some.given = ()
    assert target_metrics(Some(), decoded, targets) == {}


VOTED = """
import numpy as np
from blear.contracts import ClipSpec, Component, Params, Sample, Target
from blear.hooks import hookimpl

PLUGIN_API = 1


class Voted:
    terms = "Made of random numbers."
    targets = (Target("votes", "distribution", ("sad", "glad", "calm")),)
    splits = ("train", "dev")
    clip = ClipSpec(1, 1, 32, 32)

    def __init__(self, params, context):
        pass

    def parts(self, split):
        return ["all"]

    def samples(self, split, part):
        rng = np.random.default_rng(len(split))
        for number in range(24):
            frames = rng.integers(0, 256, (1, 32, 32, 1), dtype=np.uint8)
            shares = rng.dirichlet(np.ones(3))
            found = {"found": number > 1}
            yield Sample(f"k{number:02}", frames, {"votes": shares}, video=f"v{number // 2}", meta=found)


@hookimpl
def register_datasets():
    return [Component("toy", "Votes", Params, Voted)]
"""
JOB = """name: voted
plugins: [voted.py]
data: {votes: {use: voted/toy}}
stages:
  only:
    data: votes
    backbone: {use: vlqr/cnn5x5, width: 0.05}
    head: {use: fer/emotion, target: votes}
    optimizer: {lr: 0.01}
    steps: 3
    batch_size: 8
    validate: {every: 3, metric: kl}
evaluate:
  sweep: {use: downscale, over: {factor: [1, 2]}}
  arms: {first: {stage: only}, second: {stage: only, clean: true}}
  pool: {by: video}
  slices: [truth]
  temperature: train
  resamples: 20
  shares_validation: true
"""


def test_a_distribution_is_trained_tested_pooled_and_reported(tmp_path: Path, storage: Path) -> None:
    (tmp_path / "voted.py").write_text(VOTED)
    (tmp_path / "job.yaml").write_text(JOB)
    folder = run(tmp_path / "job.yaml", storage) / "voted"
    table, summary = predictions(folder), read_summary(folder / "summary.json")
    rows = table[(table["arm"] == "first") & (table["severity"] == 2) & table["found"]]
    truth, predicted = (np.stack(rows[name]).astype(float) for name in ("truth_shares", "probabilities"))
    assert (rows["truth"] == truth.argmax(axis=1)).all()
    means = [
        np.stack([part[rows["video"] == video] for video in rows["video"].unique()]) for part in (truth, predicted)
    ]
    pooled = means[0].mean(axis=1), np.exp(np.log(means[1]).mean(axis=1))
    pooled = pooled[0], pooled[1] / pooled[1].sum(axis=1, keepdims=True)
    for metric in DISTRIBUTION:
        found = summary.estimate("first", "corruptions/downscale", 2, metric.name)
        assert (found.n, found.missed) == (11, 1)
        assert found.value == pytest.approx(metric.compute(*pooled), abs=1e-6)
        assert found.with_missed != found.value
    test = summary.headline_test("second", "corruptions/downscale", 2)
    assert 0 < test.p <= 1
    assert {s.group for s in summary.slices} <= {"sad", "glad", "calm"}
    assert sum(np.array(summary.confusion[0].counts).ravel()) == 11
    assert summary.calibration[0].temperature is not None
    log = [json.loads(line) for line in (folder / "stages" / "only" / "log.jsonl").read_text().splitlines()]
    assert any(line.get("validation_kl", 0) > 0 for line in log)
    assert "KL divergence" in (folder / "report.html").read_text()


def test_a_blank_clip_leaves_the_model_as_it_is(affect: Path, monkeypatch) -> None:
    monkeypatch.setenv("BLEAR_STORAGE", str(affect.parents[1]))
    job, catalog = read_job(affect / "job.yaml")
    plan = StagePlan(job, "clean", RunFolder(affect.parent / "again"), prepare_data(job, catalog, workers=1))
    model = set_up(plan, LocalWorker(torch.device("cpu"))).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    targets = {"valence": Target("valence", "value")}
    from blear.data.prepared import Prepared

    clip = Prepared.open(plan.prepared["faces"]).clip
    assert list(evaluated_targets(model, BuildContext(0, clip, targets))) == ["valence"]
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_targets_that_the_data_lack_are_named_before_training(affect: Path) -> None:
    from blear.pipeline.data_facts import data_facts

    more = "data.only={use: faces/procedural, size: 48, color: luma, targets: [valence]}"
    job, catalog = read_job(affect / "job.yaml", overrides=[more, "evaluate.data=only", "evaluate.split=dev"])
    job = job.model_copy(update={"evaluate": job.evaluate.model_copy(update={"shares_validation": True})})
    notes = dry_run(job, catalog, data_facts(job, catalog)[0])
    assert "stage mix: not tested, since the data 'only' lack them: emotion, arousal" in notes


MIXED = """
import torch
from pydantic import Field
from blear.contracts import Categories, Component, Params, Values
from blear.hooks import hookimpl
from blear.metrics import CLASSIFICATION, REGRESSION

PLUGIN_API = 1


class MixedParams(Params):
    class_target: str = Field("emotion", description="class")
    value_targets: list[str] = Field(["valence", "arousal"], description="values")


class Mixed(torch.nn.Module):
    def __init__(self, params, context):
        super().__init__()
        self.params, self.classes = params, context.targets[params.class_target].classes
        self.linear = torch.nn.Linear(context.features["embedding"][-1], len(self.classes) + len(params.value_targets))

    def forward(self, features):
        return self.linear(features["embedding"]).mean(dim=1)

    def loss(self, outputs, batch):
        values = torch.stack([batch.targets[name] for name in self.params.value_targets], dim=1)
        count = len(self.classes)
        classes = torch.nn.functional.cross_entropy(outputs[:, :count], batch.targets[self.params.class_target])
        return classes + torch.nn.functional.mse_loss(outputs[:, count:], values)

    def metrics(self):
        return {self.params.class_target: CLASSIFICATION, "valence": REGRESSION}

    def decode(self, outputs):
        count = len(self.classes)
        values = {name: Values(outputs[:, count + n, None]) for n, name in enumerate(self.params.value_targets)}
        probabilities = outputs[:, None, :count].softmax(-1)
        return values | {self.params.class_target: Categories(self.classes, probabilities)}


@hookimpl
def register_heads():
    return [Component("mixed", "Classes and values", MixedParams, Mixed)]
"""


def test_a_head_of_several_kinds_of_targets_conforms(tmp_path: Path) -> None:
    (tmp_path / "mixed.py").write_text(MIXED)
    (tmp_path / "wrong.py").write_text(MIXED.replace('"valence": REGRESSION', '"age": REGRESSION'))
    found = {}
    for name in ("mixed", "wrong"):
        for check in checks_of(str(tmp_path / f"{name}.py")):
            try:
                check()
            except NotCheckedError:
                pass
            except NonconformityError as error:
                found[str(check)] = str(error)
    assert list(found) == ["wrong/mixed [0] its metrics can be computed"]
    assert "metrics: expected decoded targets: valence, arousal, emotion, got emotion, age" in str(found)
