"""jobs/vlqr_rate.yaml at tiny sizes: the bit rates in its predictions table."""

import itertools
import json

import pyarrow.parquet as pq

from blear.job.reader import read_job
from blear.pipeline.run import run_job

TINY = {
    "data.*.stand_in.subjects": "{train: 2, dev: 3}",
    "data.*.stand_in.per_subject": "2",
    "stages.*.backbone.width": "0.0625",
    "stages.*.batch_size": "4",
    "stages.*.steps": "1",
    "evaluate.resamples": "20",
    "evaluate.faces": "1",
}


def test_six_rate_points_for_each_codec_and_size(repository, storage):
    job, catalog = read_job(repository / "jobs" / "vlqr_rate.yaml", overrides=[f"{k}={v}" for k, v in TINY.items()])
    run = run_job(job, catalog, runner="local", fresh=False, command="", profile=None).parent
    table = pq.read_table(run / "predictions.parquet").to_pandas()
    conditions = {f"{codec}{size}" for codec, size in itertools.product(("H.264", "HEVC"), ("", " at 1/2", " at 1/4"))}
    assert set(table["condition"]) == conditions | {"clean"}
    assert set(table["arm"]) == {"clean-trained", "max-mix", "codec-mix"}
    coded, clean = table[table["condition"] != "clean"], table[table["condition"] == "clean"]
    assert clean["kbps"].isna().all()
    rates = coded.groupby(["condition", "severity"])["kbps"]
    assert (rates.nunique() > 1).all()  # the bit rate differs between clips
    for condition in conditions:
        means = rates.mean()[condition]
        assert list(means.index) == [18, 24, 30, 36, 42, 48]
        assert means.is_monotonic_decreasing
    full, half = rates.mean()["H.264"], rates.mean()["H.264 at 1/2"]
    assert (half < full).all()
    by_arm = coded.pivot_table(index=["condition", "severity", "sample"], columns="arm", values="kbps")
    assert (by_arm["max-mix"] == by_arm["clean-trained"]).all()
    said = json.loads((run / "run.json").read_text())["sweeps"]
    assert [sweep["group"] for sweep in said if sweep["condition"] == "HEVC at 1/4"] == [{"codec": "HEVC", "shrink": 4}]
