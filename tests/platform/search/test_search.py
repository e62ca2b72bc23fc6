"""Search without Ray: spaces, objectives, mixture histories, Pareto fronts, importance, mistakes in the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from blear.contracts import Categories
from blear.errors import JobError
from blear.evaluate.prediction_rows import ClipColumns, PredictionContext, prediction_rows
from blear.evaluate.statistics.robustness_scores import log_area
from blear.job.arm_stages import BEST, final_evaluation
from blear.job.reader import read_job
from blear.job.schema import Dimension, Job, Objective, Pool, Search
from blear.metrics import CLASSIFICATION
from blear.pipeline.prepare import prepare_data
from blear.plugin.discovery import load_plugins
from blear.search.configuration import TrialContext, evaluate_configuration, train_configuration
from blear.search.importance import importance
from blear.search.mixture_history import to_schedule, with_mixtures
from blear.search.objective import ObjectiveEvaluator, TargetMetric, curve_of
from blear.search.results import Trial, pareto
from blear.search.run import _other_stages
from blear.search.space import tune_space, values
from blear.storage.run_folder import RunFolder
from search_job import JOB

MIX = "stages.joint.degrade.0.factors"
CURVE = {("down", 1.0): 0.9, ("down", 2.0): 0.7, ("down", 4.0): 0.4, ("clean", 0.0): 1.0}


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_every_draw_lies_on_the_simplex(draws: list[float]) -> None:
    keys = list(range(1, len(draws) + 1))
    space = {MIX: Dimension(simplex=keys)}
    weights = values(space, {f"{MIX}|{key}": draw for key, draw in zip(keys, draws, strict=True)})[MIX]
    assert list(weights) == keys
    assert all(weight >= 0 for weight in weights.values())
    assert sum(weights.values()) == pytest.approx(1, abs=1e-3)


def test_mixtures_are_uniform_on_the_simplex() -> None:
    """In a uniform (Dirichlet 1) distribution over three keys each weight has mean 1/3 and variance 1/18."""
    space = {MIX: Dimension(simplex=[3, 4, 6])}
    draws = np.random.default_rng(1).random((4000, 3))
    drawn = [{f"{MIX}|{key}": u for key, u in zip((3, 4, 6), row, strict=True)} for row in draws]
    weights = np.array([list(values(space, one)[MIX].values()) for one in drawn])
    np.testing.assert_allclose(weights.mean(axis=0), 1 / 3, atol=0.015)
    np.testing.assert_allclose(weights.var(axis=0), 1 / 18, atol=0.004)


def test_numbers_are_rounded_to_four_digits_and_other_values_are_kept() -> None:
    space = {
        "a.lr": Dimension(log=(1e-4, 1.0)),
        "a.x": Dimension(range=(0.0, 1.0)),
        "a.n": Dimension(integer=(2, 9)),
        "a.c": Dimension(choice=[4, "bicubic"]),
    }
    assert set(tune_space(space)) == set(space)
    drawn = {"a.lr": 0.00123456, "a.x": 0.98765432, "a.n": 7, "a.c": "bicubic"}
    assert values(space, drawn) == {"a.lr": 0.001235, "a.x": 0.9877, "a.n": 7, "a.c": "bicubic"}
    samples = [tune_space(space)["a.n"].sample() for _ in range(200)]
    assert (min(samples), max(samples)) == (2, 9)


ACCURACY = TargetMetric("emotion", "accuracy", "Accuracy", True)
RMSE = TargetMetric("valence", "rmse", "RMSE", False)


def test_objectives_of_a_curve() -> None:
    weighted = Objective(use="weighted", weights={1: 1, 4: 3})
    evaluator = ObjectiveEvaluator(
        (Objective(use="mean"), Objective(use="worst"), Objective(use="area"), weighted), (ACCURACY,) * 4
    )
    assert evaluator.names == ["mean", "worst", "area", "weighted"]
    found = evaluator([CURVE] * 4)
    assert found["mean"] == pytest.approx((0.9 + 0.7 + 0.4) / 3)  # clean frames are not a severity of the sweep
    assert found["worst"] == 0.4
    assert found["area"] == pytest.approx((0.9 + 0.7) / 4 + (0.7 + 0.4) / 4)  # two octaves, trapezoids
    assert found["weighted"] == pytest.approx((0.9 + 3 * 0.4) / 4)
    errors = ObjectiveEvaluator((Objective(use="mean"), Objective(use="worst")), (RMSE, RMSE))([CURVE, CURVE])
    assert errors["mean"] == pytest.approx(-2 / 3)
    assert errors["worst"] == -0.9
    with pytest.raises(JobError, match="the sweep has no severity 3"):
        ObjectiveEvaluator((Objective(use="weighted", weights={3: 1}),), (ACCURACY,))([CURVE])


def test_each_objective_has_the_metric_of_its_target() -> None:
    objectives = (Objective(use="mean"), Objective(use="mean", metric="valence.rmse"))
    evaluator = ObjectiveEvaluator(objectives, (ACCURACY, RMSE))
    assert evaluator.names == ["mean", "mean valence.rmse"]
    other = {key: 2 * value for key, value in CURVE.items()}
    assert evaluator([CURVE, other]) == pytest.approx({"mean": 2 / 3, "mean valence.rmse": -4 / 3})


def test_the_area_is_the_mean_over_the_octaves() -> None:
    assert float(log_area(np.array([1.0, 2.0, 8.0]), *map(np.array, (1.0, 1.0, 1.0)))) == pytest.approx(1)


def test_a_mixture_history_becomes_a_schedule_of_constant_pieces() -> None:
    history = with_mixtures([], 0, {MIX: {"3": 1.0, "6": 0.0}})
    history = with_mixtures(history, 40, {MIX: {"3": 0.5, "6": 0.5}})
    assert with_mixtures(history, 60, {MIX: {"3": 0.5, "6": 0.5}}) == history
    found = to_schedule(history, steps=100)
    assert found[MIX] is None
    schedule = found["stages.joint.degrade.0.schedule"]
    assert schedule == {0.0: {"3": 1.0, "6": 0.0}, 0.395: {"3": 1.0, "6": 0.0}, 0.4: {"3": 0.5, "6": 0.5}}
    # interpolated as in a degradation: the first mixture up to step 39, the second from step 40 on
    at = [np.interp(step / 100, list(schedule), [mix["3"] for mix in schedule.values()]) for step in (0, 39, 40, 99)]
    assert at == [1.0, 1.0, 0.5, 0.5]
    with pytest.raises(JobError, match="is not a mixture"):
        to_schedule([(0, {"stages.joint.optimizer.lr": 0.1})], 100)


def trial(name: str, **objectives: float) -> Trial:
    return Trial(name=name, values={}, objectives=objectives, curve=[], looks=[], steps=1, seconds=1.0)


def test_the_pareto_front_has_the_trials_that_no_other_dominates() -> None:
    trials = [trial("a", m=1.0, w=0.1), trial("b", m=0.5, w=0.5), trial("c", m=0.4, w=0.4), trial("d", m=0.1, w=0.9)]
    assert pareto([*trials, trial("failed")], ["m", "w"]) == ["a", "b", "d"]
    assert pareto([trial("a", m=1.0), trial("b", m=1.0), trial("c", m=0.5)], ["m"]) == ["a", "b"]


def test_a_dimension_that_determines_the_objective_is_the_most_important() -> None:
    space = {"x": Dimension(range=(0.0, 1.0)), "y": Dimension(range=(0.0, 1.0)), "c": Dimension(choice=["u", "v"])}
    random = np.random.default_rng(0)
    drawn = [
        {"x": x, "y": y, "c": "uv"[int(c)]}
        for x, y, c in zip(*random.random((2, 60)), random.integers(2, size=60), strict=True)
    ]
    found = importance(space, drawn, [-((one["x"] - 0.7) ** 2) for one in drawn])
    assert next(iter(found)) == "x"
    assert found["x"] > 0.6
    assert importance(space, drawn[:3], [1.0, 2.0, 3.0]) == {}
    assert importance(space, drawn, [1.0] * 60) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduler": "asha"}, "need report_every"),
        (
            {"algorithm": "pbt", "report_every": 5, "space": {"a.lr": {"log": [0.1, 1]}}},
            "its space must contain `simplex` only",
        ),
        ({"algorithm": "pbt", "report_every": 5, "scheduler": "asha"}, "pbt has its own scheduler"),
        (
            {"scheduler": "asha", "report_every": 5, "objective": [{"use": "mean"}, {"use": "worst"}]},
            "need exactly one objective",
        ),
        ({"scheduler": "hyperband", "report_every": 5, "concurrent": 2}, "remove concurrent"),
        ({"objective": [{"use": "weighted"}]}, "needs weights above 0"),
        ({"objective": [{"use": "mean", "weights": {"1": 1}}]}, "the other objectives have none"),
        ({"space": {"a.lr": {"log": [0, 1]}}}, "is no range"),
        ({"space": {"a.lr": {"range": [2, 1]}}}, "is no range"),
        ({"space": {"a.lr": {"range": [0, 1], "choice": [1]}}}, "give one of"),
        ({"baselines": {"best": {}}}, "is reserved for the best trial"),
    ],
)
def test_impossible_searches_are_refused(change: dict, message: str) -> None:
    good = {"space": {MIX: {"simplex": [1, 2, 3]}}, "stage": "joint", "split": "dev"}
    assert Search.model_validate(good).trials == 16
    with pytest.raises(ValidationError, match=message):
        Search.model_validate(good | change)


def test_values_of_a_choice_are_not_rounded() -> None:
    space = {"stages.joint.ema": Dimension(choice=[0.99995, 0.99])}
    assert values(space, {"stages.joint.ema": 0.99995}) == {"stages.joint.ema": 0.99995}


def test_the_objective_is_of_pooled_decisions() -> None:
    """Three frames of each of four samples: one frame of each is wrong, the decision of each sample is right."""
    sure, wrong = [0.9, 0.1], [0.4, 0.6]
    probabilities = torch.tensor([[sure, wrong, sure]] * 4)
    context = PredictionContext("trial", "joint", "down", 2.0, "emotion", 0, {"emotion": ("a", "b")})
    clips = ClipColumns([f"s{i}" for i in range(4)])
    table = prediction_rows(context, clips, np.zeros(4), Categories(("a", "b"), probabilities))
    assert curve_of([table], "emotion", CLASSIFICATION[0]) == {("down", 2.0): pytest.approx(2 / 3)}
    assert curve_of([table], "emotion", CLASSIFICATION[0], Pool()) == {("down", 2.0): 1.0}


@pytest.fixture
def read(tmp_path: Path, storage: Path):
    """read({"evaluate": {...}}) -> the tiny job with a search, after merging these sections into it."""

    def call(changes: dict) -> Job:
        loaded = YAML(typ="safe").load(JOB)
        for section, values_of in changes.items():
            loaded[section] |= values_of
        path = tmp_path / "job.yaml"
        with path.open("w") as file:
            YAML().dump(loaded, file)
        return read_job(path)[0]

    return call


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"space": {"data.faces.size": {"choice": [32, 48]}}}}, r"data\.faces\.size: trials read shards"),
        ({"search": {"space": {"*.faces.size": {"choice": [32, 48]}}}}, "trials read shards that are prepared once"),
        ({"search": {"baselines": {"large": {"data.faces.size": 48}}}}, "trials read shards that are prepared once"),
        (
            {"search": {"space": {"stages.joint.data": {"choice": ["faces", "more"]}}}},
            "the data 'more' are not prepare",
        ),
        (
            {
                "search": {"baselines": {"even": {}}},
                "evaluate": {"arms": {"joint": {"stage": "joint"}, "even": {"stage": "before"}}},
            },
            "the arm 'even' has the label of a baseline",
        ),
    ],
)
def test_searches_whose_trials_would_not_differ_are_refused(read, changes: dict, message: str) -> None:
    with pytest.raises(JobError, match=message):
        read(changes)


def test_the_best_trial_replaces_the_arms_of_the_searched_stage(read) -> None:
    expert = YAML(typ="safe").load(JOB)["stages"]["before"]
    job = read(
        {
            "stages": {f"expert_{factor}": expert for factor in (1, 2, 3)} | {"other": expert},
            "evaluate": {
                "arms": {
                    "joint": {"stage": "joint"},
                    "bound": {"stage": "joint", "clean": True},
                    "experts": {"stage": "expert_{factor}"},
                },
                "equivalence": [{"of": "joint", "against": "experts", "margin": 0.05}],
                "mce": "joint",
            },
        }
    )
    assert job.search is not None
    assert _other_stages(job, job.search) == ["expert_1", "expert_2", "expert_3"]
    final = final_evaluation(job.evaluate, job.search, {"even mix": "joint-even", BEST: "joint-best"})
    assert {label: (arm.stage, arm.clean) for label, arm in final.arms.items()} == {
        "even mix": ("joint-even", False),
        "best": ("joint-best", False),
        "bound": ("joint-best", True),
        "experts": ("expert_{factor}", False),
    }
    assert [(pair.of, pair.against) for pair in final.equivalence] == [("best", "experts")]
    assert final.mce == "best"


@pytest.mark.parametrize(
    "kept", [{"ema": 0.9}, {"validate": {"every": 4, "split": "dev", "keep": "best", "metric": "accuracy"}}]
)
def test_a_scheduler_sees_the_weights_that_a_trial_keeps(read, tmp_path: Path, kept: dict) -> None:
    """The last evaluation during training gives the curve of the finished stage."""
    joint = YAML(typ="safe").load(JOB)["stages"]["joint"] | {"checkpoint_every": 6, "optimizer": {"lr": 0.1}} | kept
    del joint["backbone"]["start_from"]
    job = read({"stages": {"joint": joint}})
    prepared = prepare_data(job, load_plugins(tuple(job.plugins)), workers=1)
    context = TrialContext(tmp_path / "base.yaml", tmp_path, prepared, "joint", "dev", (), False)
    run = RunFolder(tmp_path / "trial")
    metrics = (TargetMetric("emotion", "accuracy", "Accuracy", True),)
    seen: dict[int, Any] = {}
    train_configuration(context, job, run, lambda step, curves: seen.update({step: curves}), metrics)
    assert max(seen) == 12
    assert seen[12] == evaluate_configuration(context, job, run, metrics)
