"""`data.NAME.shards` in a job, and `blear verify`: with the real command, over a real server."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from data_server import Faults, serve
from data_toy import SOURCE, prepare_toy
from safetensors.numpy import load_file

from blear.data.prepare.run import prepare_dataset
from blear.errors import DataError, JobError
from blear.job.json_schema import json_schema
from blear.job.reader import dump_job, read_job
from blear.pipeline.prepare import prepare_data
from blear.pipeline.run import evaluate_run, run_job
from blear.plugin.component_ref import ComponentRef
from blear.plugin.discovery import load_plugins

JOB = """name: remote
data:
  faces:
    use: faces/procedural
    size: 48
    color: luma
    targets: [valence]
    subjects: {train: 6, dev: 4}
    per_subject: 4
    stand_in: {use: procedural}
stages:
  clean:
    data: faces
    backbone: {use: cnn5x5, width: 0.1}
    head: {use: valence}
    optimizer: {lr: 0.01}
    steps: 3
    batch_size: 8
evaluate:
  sweep: {use: downscale, over: {factor: [1, 2]}}
  arms: {clean: {stage: clean}}
  resamples: 20
"""


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Prepared shards of the faces that the job names."""
    params = {"size": 48, "color": "luma", "targets": ["valence"], "subjects": {"train": 6, "dev": 4}, "per_subject": 4}
    return prepare_dataset(
        ComponentRef("dataset", "faces/procedural", params), tmp_path_factory.mktemp("faces"), version="1"
    )


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


def test_a_run_from_a_url_gives_equal_weights_to_a_run_from_a_folder(blear, job, storage, faces, tmp_path):
    """To the bit, though the server fails at first; no shard is prepared. Each run has a cache of its own."""
    with serve(faces.folder, Faults(times=1, status=503)) as (url, seen):
        for name, place in (("here", str(faces.folder)), ("there", url)):
            given = ("--set", f"data.faces.shards={place}", "--set", f"name={name}")
            done = blear("run", str(job), *given, BLEAR_CACHE=str(tmp_path / f"cache-{name}"))
            assert done.returncode == 0, done.stderr
            assert f"prepared shards at {place}" in done.stderr
        assert seen.count() >= 2
    here, there = (load_file(storage / "runs" / name / "stages/clean/model.safetensors") for name in ("here", "there"))
    assert here.keys() == there.keys()
    assert all(np.array_equal(here[name], there[name]) for name in here)
    assert not (storage / "shards").exists()
    info = json.loads((storage / "runs/there/run.json").read_text())["data"]["faces"]
    assert (info["source"], info["stand_in"], info["counts"]) == (url, False, {"train": 24, "dev": 16})


def test_a_shard_missing_on_the_server_is_one_error_message(blear, job, storage, faces, tmp_path):
    served = tmp_path / "served"
    shutil.copytree(faces.folder, served)
    shard = faces.split("train").shards[0].name
    (served / shard).unlink()
    with serve(served) as (url, _):
        done = blear("run", str(job), "--set", f"data.faces.shards={url}")
    assert done.returncode == 2
    assert f"blear: {url}/{shard}: there is no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_shards_of_another_dataset_are_refused(job, tmp_path):
    toy = prepare_toy(tmp_path)
    read, catalog = read_job(job, overrides=[f"data.faces.shards={toy.folder}"])
    with pytest.raises(DataError) as caught:
        prepare_data(read, catalog)
    assert caught.value.what == "these shards are of toy/random, the job's data.faces is faces/procedural"
    assert "set data.faces.use to toy/random" in caught.value.do


def test_shards_replace_source_and_fallback_data(job, faces, tmp_path):
    """`source` is required by the toy dataset of this job, but not while `shards` are given."""
    (tmp_path / "toy.py").write_text(SOURCE.replace("source: Path | None = Field(None,", "source: Path = Field("))
    text = JOB.replace("name: remote\n", "name: remote\nplugins: [toy.py]\n").replace("use: faces/procedural", "use: X")
    (tmp_path / "made").mkdir()
    toy = prepare_toy(tmp_path / "made")
    block = text[text.index("    use: X") : text.index("    stand_in")]
    job.write_text(text.replace(block, "    use: toy/random\n"))
    read, catalog = read_job(job, overrides=[f"data.faces.shards={toy.folder}"])
    assert not read.data["faces"].uses_fallback
    assert read.data["faces"].chosen == ("toy/random", {})
    assert prepare_data(read, catalog) == {"faces": str(toy.folder)}
    again = tmp_path / "again.yaml"
    again.write_text(dump_job(read))
    assert read_job(again)[0] == read
    load_plugins.cache_clear()


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("nowhere", "data.faces.shards: not a folder of prepared shards (no dataset.json in it): nowhere"),
        ("ftp://host/a", "data.faces.shards: cannot read ftp:// URLs; give a folder, or a URL of http, https, s3, gs"),
        ("https://u:p@host/a", "data.faces.shards: the URL holds a user or a password"),
        ("7", "data.faces.shards: Input should be a valid string"),
    ],
)
def test_the_check_refuses_malformed_places_of_shards(job, place, problem):
    with pytest.raises(JobError) as caught:
        read_job(job, overrides=[f"data.faces.shards={place}"])
    assert problem in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_the_check_names_the_missing_extra(blear, job):
    done = blear("check", str(job), "--set", "data.faces.shards=gs://bucket/faces")
    assert done.returncode == 2
    assert "gcsfs" in done.stderr
    assert 'pip install "blear[gcs]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_shards_are_in_the_schema():
    faces = next(
        choice
        for choice in json_schema(load_plugins())["$defs"]["Data"]["oneOf"]
        if choice["title"] == "faces/procedural"
    )
    assert "prepared shards" in faces["properties"]["shards"]["description"]


def test_verify_counts_shards_and_samples(blear, faces, tmp_path):
    done = blear("verify", str(faces.folder))
    assert done.returncode == 0, done.stderr
    shards = sum(len(split.shards) for split in faces.info.splits.values())
    assert done.stdout == f"{faces.folder}: correct; {shards} shards, 40 samples\n"
    served = tmp_path / "served"
    shutil.copytree(faces.folder, served)
    shard = served / faces.split("dev").shards[0].name
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    done = blear("verify", str(served))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"blear: {shard}: the content has changed: SHA-256" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_evaluation_downloads_dataset_json_once(job, storage, faces):
    """It was read 16 times, once for each use."""
    with serve(faces.folder) as (url, seen):
        resolved, catalog = read_job(job, overrides=[f"data.faces.shards={url}"])
        page = run_job(resolved, catalog, runner="local", fresh=False, command="", profile=None)
        assert seen.count("dataset.json") == 1
        assert "clean" in evaluate_run(page.parent)
        assert seen.count("dataset.json") == 2  # a later command reads the data's present state
