"""jobs/vlqr_rate.yaml at tiny sizes: the bit rates in its predictions table."""

import itertools
import json

import pyarrow.parquet as pq
import torch

from blear.job.reader import read_job
from blear.models.load import load
from blear.pipeline.run import run_job
from blear.train.macs import count_macs

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
    info = json.loads((run / "run.json").read_text())
    said = info["sweeps"]
    macs = {arm["macs"] for arm in info["arms"].values()}
    network = load(run, stage=info["arms"]["clean-trained"]["stage"])
    clip = network.card.clip
    assert macs == {count_macs(network, torch.zeros(1, clip.length, clip.channels, clip.height, clip.width))}
    shown = f"Million multiply-accumulates for each face: clean-trained {macs.pop() / 1e6:,.3g}"
    assert shown in (run / "report.html").read_text()
    assert [sweep["group"] for sweep in said if sweep["condition"] == "HEVC at 1/4"] == [{"codec": "HEVC", "shrink": 4}]


def test_faces_are_cut_from_decoded_scenes(repository, storage):
    """jobs/vlqr_video_rate.yaml without any data: scenes of three face sizes are coded, not the faces."""
    sets = {
        **TINY,
        "data.*.stand_in.per_subject": "1",
        "data.*.stand_in.size": "32",
        "data.scenes.stand_in.scene": "96",
        "data.scenes.stand_in.frames": "2",
        "stages.clean.backbone.size": "32",
        "stages.max_mix.backbone.size": "32",
        "evaluate.windows": "{length: 2, stride: 2}",
        "data.scenes.stand_in.subjects": "{train: 1, dev: 3}",
        "evaluate.sweep.0.over": "{crf: [22, 42]}",
        "evaluate.sweep.1.over": "{crf: [22, 42]}",
        "stages.*.batch_size": "2",
    }
    overrides = [f"{k}={v}" for k, v in sets.items()]
    job, catalog = read_job(repository / "jobs" / "vlqr_video_rate.yaml", profile="demo", overrides=overrides)
    evaluate = job.evaluate.model_copy(update={"sweep": job.evaluate.sweep[:2]})
    job = job.model_copy(update={"evaluate": evaluate})
    run = run_job(job, catalog, runner="local", fresh=False, command="", profile=None).parent
    table = pq.read_table(run / "predictions.parquet").to_pandas()
    assert set(table["condition"]) == {"clean", "H.264", "H.264 at 1/3"}
    rates = table[table["condition"] != "clean"].groupby(["condition", "severity"])["kbps"].mean()
    assert rates["H.264 at 1/3", 22] < rates["H.264", 22]
    assert rates["H.264", 42] < rates["H.264", 22]
