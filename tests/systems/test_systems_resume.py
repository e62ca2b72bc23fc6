"""Every published system: an interrupted and resumed last stage ends with the weights of an uninterrupted run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from blear.job.reader import read_job
from blear.pipeline.run import run_job
from blear.storage.run_folder import RunFolder

JOBS = {
    "fer_vgg_gru": "vgg_gru",
    "fer_resnet_gru": "resnet_gru_conv_drop",
    "dsn_vgg": "dsn",
    "dsn_resnet50": "dsn",
    "dsn_densenet121": "plain",
    "vtt_tsm": "tsm",
}
SMALL = ("steps=4", "batch_size=4", "log_every=1", "checkpoint_every=2", "validate=null", "optimizer.lr=0.001")
DATA = ("subjects={train: 2, dev: 1}", "per_subject=4", "recordings=1")


def tiny(repository: Path, name: str) -> list[str]:
    """Overrides that shorten the job's demo to seconds, without evaluation."""
    job, _ = read_job(repository / "jobs" / f"{name}.yaml", profile="demo")
    changes = [f"stages.{stage}.{change}" for stage in job.stages for change in SMALL]
    changes += [f"data.{data}.stand_in.{change}" for data in job.data for change in DATA]
    return [*changes, "evaluate=null"]


IN_EVERY_RUN = ("fer_resnet_gru", "dsn_vgg", "vtt_tsm")
CASES = [pytest.param(*job, marks=[] if job[0] in IN_EVERY_RUN else pytest.mark.systems) for job in JOBS.items()]


@pytest.mark.parametrize(("name", "stage"), CASES)
def test_an_interrupted_stage_ends_with_the_weights_of_an_uninterrupted_run(
    name: str, stage: str, repository: Path, storage: Path
) -> None:
    job, catalog = read_job(repository / "jobs" / f"{name}.yaml", profile="demo", overrides=tiny(repository, name))

    def run() -> Path:
        run_job(job, catalog, runner="local", fresh=False, command="blear run", profile="demo")
        return RunFolder.open(storage / "runs" / name).stage(stage)

    folder = run()
    whole = load_file(folder / "model.safetensors")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    for left in (folder / "stage.json", folder / "model.safetensors"):
        left.unlink()
    checkpoints = sorted((folder / "checkpoints").iterdir(), key=lambda path: path.name)
    shutil.rmtree(checkpoints[-1])  # the stage continues after step 2
    assert run() == folder
    again = load_file(folder / "model.safetensors")
    assert again.keys() == whole.keys()
    for key, value in whole.items():
        assert np.array_equal(again[key], value), key
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {line["step"]: line["loss"] for line in lines if "loss" in line} == losses
    assert set(losses) == {1, 2, 3, 4}
    assert all(np.isfinite(loss) for loss in losses.values())
