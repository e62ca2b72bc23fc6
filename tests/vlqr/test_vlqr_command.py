"""The `blear` command on the original layout of AVEC 2016: a whole job, and invalid data."""

import json

import pyarrow.parquet as pq

from blear import load

TINY = [
    "--profile",
    "tiny",
    "--set",
    "data.faces.size=48",
    "--set",
    "stages.*.batch_size=8",
    "--set",
    "stages.sr.batch_size=16",
]


def test_the_main_job_runs_on_the_real_layout(blear, storage, avec_original):
    done = blear("run", "jobs/vlqr.yaml", *TINY, "--set", f"data.faces.source={avec_original}")
    assert done.returncode == 0, done.stderr
    assert "is used instead of vlqr/avec2016" not in done.stderr
    run = storage / "runs" / "vlqr"
    data = json.loads((run / "run.json").read_text())["data"]
    assert data["faces"]["use"] == "vlqr/avec2016"
    assert data["faces"]["counts"] == {"train": 18, "dev": 6}
    assert load(run).card.grey == "studio"  # colour faces become the luma of the training data
    table = pq.read_table(run / "predictions.parquet").to_pandas()
    assert set(table["video"]) == {"dev_1"}
    assert sorted(set(table["time"].round(2))) == [0.12, 0.16, 0.20, 0.24, 0.40, 0.44]


def test_a_video_without_faces_is_one_message(blear, storage, avec_copy):
    boxes = avec_copy / "bbox" / "train_2.csv"
    lines = boxes.read_text().splitlines()
    boxes.write_text("\n".join([lines[0], *(f"{line.split(',')[0]},0,0,0,0" for line in lines[1:])]) + "\n")
    done = blear("prepare", "vlqr/avec2016", str(avec_copy))
    assert done.returncode == 2, done.stderr
    assert "train_2" in done.stderr
    assert "blear_faces.locate" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((storage / "shards").rglob("dataset.json"))
    assert not list((storage / "shards").rglob("*.partial"))
