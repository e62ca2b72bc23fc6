"""A job with `seeds`: each stage is trained with each seed, and the results are means over the seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc
import pytest

from blear.errors import JobError, RunError
from blear.evaluate.predictions import read_predictions
from blear.evaluate.summary import read_summary
from blear.job.reader import read_job, read_run_job
from blear.models.from_run import stage_model
from blear.pipeline.run import run_job

SHORT = (
    "stages.*.steps=2",
    "stages.*.checkpoint_every=2",
    "evaluate.sweep.over={factor: [2, 4]}",
    "evaluate.resamples=50",
)


@pytest.fixture
def run(repository: Path, storage: Path):
    """run("name", "seeds=[0, 3]") -> the run folder of the tiny job."""

    def start(name: str, *overrides: str) -> Path:
        given = [f"name={name}", "data.faces.stand_in.subjects={train: 4, dev: 6}", *SHORT, *overrides]
        job, catalog = read_job(repository / "jobs" / "vlqr.yaml", profile="tiny", overrides=given)
        return run_job(job, catalog, runner="local", fresh=False, command="", profile="tiny").parent

    return start


def test_a_job_of_several_seeds(run) -> None:
    one, several = run("one"), run("several", "seeds=[0, 3]")
    weights = {seed: several / "seeds" / str(seed) / "stages" / "joint" / "model.safetensors" for seed in (0, 3, 5)}
    assert weights[0].read_bytes() == (one / "stages" / "joint" / "model.safetensors").read_bytes()
    assert weights[0].read_bytes() != weights[3].read_bytes()
    table = read_predictions(several / "predictions.parquet")
    assert table.filter(pc.field("seed") == 0) == read_predictions(one / "predictions.parquet")
    assert pc.unique(table["seed"]).to_pylist() == [0, 3]
    summary, alone = read_summary(several / "summary.json"), read_summary(one / "summary.json")
    assert (summary.seeds, alone.seeds) == ([0, 3], [])
    assert {test.method for test in summary.tests} == {"bootstrap"}
    assert {test.method for test in alone.tests} == {"permutation"}
    page = (several / "report.html").read_text()
    assert "Each arm is the mean over 2 trainings (seeds 0, 3)" in page
    assert "joint, seed 3" in page
    assert "one training with one seed" not in page
    assert json.loads((several / "run.json").read_text())["seeds"] == [0, 3]

    model, job = stage_model(several, "joint"), read_run_job(several)  # of the first seed
    assert (model.card.seed, model.card.metrics) == (0, [])
    alone = stage_model(one, "joint")
    for name, value in model.network.state_dict().items():
        assert value.equal(alone.network.state_dict()[name])
    assert job.seeds == [0, 3]

    before = weights[3].stat().st_mtime_ns
    run("several", "seeds=[0, 3, 5]")  # only the new seed is trained
    assert (weights[3].stat().st_mtime_ns, weights[5].is_file()) == (before, True)
    assert read_summary(several / "summary.json").seeds == [0, 3, 5]
    with pytest.raises(RunError, match=r"seeds: the run has \[0, 3, 5\], this job null"):
        run("several")


@pytest.mark.parametrize(
    ("job", "override", "problem"),
    [
        ("search_scale_mix", "seeds=[0, 1]", "a search has one seed"),
        ("vlqr", "seeds=[2, 2]", "names a seed twice"),
        ("vlqr", "seeds=[2]", "at least 2 items"),
    ],
)
def test_wrong_seeds_are_refused(repository: Path, job: str, override: str, problem: str) -> None:
    with pytest.raises(JobError, match=problem):
        read_job(repository / "jobs" / f"{job}.yaml", overrides=[override])
