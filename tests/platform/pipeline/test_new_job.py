"""`blear new` looks into pictures and writes a job that is correct, for folders, tables and sizes of every kind."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from webdataset import ShardWriter

from blear.cli import cli
from blear.data.prepare.picture_sample import sample_pictures
from blear.errors import BlearError, DataError, JobError
from blear.job.reader import read_job
from blear.pipeline.data_facts import data_facts
from blear.pipeline.new_job import write_new_job
from blear.pipeline.speed import seconds_per_sample


def draw(file: Path, side: int, number: int, grey: bool = False) -> None:
    """Draws a picture of random pixels."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side + 8) if grey else (side, side + 8, 3), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_become_a_job(folder: Path) -> None:
    for number in range(50):
        draw(Path("pics") / ("calm", "happy")[number % 2] / f"{number}.png", 60 + number, number)
    result = CliRunner().invoke(cli, ["new", "--folders", "pics"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "emotion: calm " in result.output
    assert "shorter side 60 to 109 pixels, median 85" in result.output
    assert os.access("job.yaml", os.X_OK)
    job, _ = read_job(Path("job.yaml"))
    data = job.data["pictures"]
    assert (job.name, data.use.split("/")[1], data.params["size"]) == ("pics", "folders", 48)
    assert list(job.stages) == ["ordinary", "robust"]
    assert job.stages["robust"].degrade
    assert not job.stages["ordinary"].degrade
    samples = int(result.output.split("found: ")[1].split(" ")[0])
    steps, batch_size = job.stages["robust"].steps, job.stages["robust"].batch_size
    assert 3 <= steps * batch_size / samples <= 41
    assert job.evaluate is not None
    assert job.evaluate.split == "test"
    again = CliRunner().invoke(cli, ["new", "--folders", "pics"])
    assert isinstance(again.exception, JobError)


def test_a_table_of_small_grey_pictures(folder: Path) -> None:
    with Path("faces.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "mood", "person"])
        for number in range(40):
            draw(Path(f"{number}.png"), 20, number, grey=True)
            rows.writerow([f"{number}.png", ("sad", "glad", "mad")[number % 3], number // 4])
    with pytest.raises(
        DataError, match="or target\n  -> name it: --target NAME=COLUMN; the columns are file, mood, pe"
    ):
        write_new_job("table", {"source": "faces.csv"}, None, Path("job.yaml"))
    Path("bad.csv").write_text("file,label\n0.png,sad\nnone.png,glad\n")
    with pytest.raises(DataError, match=r"bad\.csv, line 3: there is no file \S*none\.png"):
        write_new_job("table", {"source": "bad.csv"}, None, Path("job.yaml"))
    write_new_job("table", {"source": "faces.csv", "subject": "person"}, "mood", Path("job.yaml"))
    job, _ = read_job(Path("job.yaml"))
    params = job.data["pictures"].params
    assert (params["size"], params["color"], params["targets"]) == (16, "grey", {"mood": "mood"})
    assert job.stages["ordinary"].head.params["target"] == "mood"
    assert "angry" not in Path("job.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --folders"),
        (["--folders", "none"], "none"),
        (["--folders", "empty"], "empty"),
        (["--folders", "pics", "--set", "sise=4"], "did you mean 'size'"),
    ],
)
def test_what_cannot_be_used_is_named(folder: Path, arguments: list[str], message: str) -> None:
    Path("empty").mkdir()
    for number in range(12):
        draw(Path("pics") / "ab"[number % 2] / f"{number}.png", 24, number)
    result = CliRunner().invoke(cli, ["new", *arguments])
    assert result.exit_code
    assert message in result.output + str(result.exception or "")
    assert isinstance(result.exception, BlearError | SystemExit)
    assert not Path("job.yaml").exists()


def test_shards_of_others_become_a_job(folder: Path) -> None:
    Path("shards").mkdir()
    with ShardWriter("shards/train-%04d.tar", maxcount=20, verbose=0) as writer:
        for number in range(40):
            draw(Path("one.jpg"), 64, number)
            writer.write({"__key__": f"s{number:03}", "jpg": Path("one.jpg").read_bytes(), "cls": number % 3})
    lines = write_new_job("webdataset", {"source": "shards/train-{0000..0001}.tar"}, None, Path("job.yaml"))
    assert "emotion: 0 " in lines[0]
    job, _ = read_job(Path("job.yaml"))
    assert job.data["pictures"].params["targets"] == {"emotion": "cls"}
    assert job.name == "train"


def test_pictures_in_tar_files_are_sampled(folder: Path) -> None:
    import tarfile

    draw(Path("a.jpg"), 40, 0, grey=True)
    draw(Path("b.jpg"), 70, 1)
    with tarfile.open("shard.tar.gz", "w:gz") as archive:
        archive.add("a.jpg")
        archive.add(__file__, "a.txt")
    sample = sample_pictures([Path("shard.tar.gz")])
    assert (sample.sides, sample.grey) == ((40,), True)
    both = sample_pictures([Path("a.jpg"), Path("b.jpg")])
    assert (both.sides, both.grey, both.median) == ((40, 70), False, 70)
    assert sample_pictures([]).median is None


def test_the_measured_speed_is_that_of_training(repository: Path) -> None:
    job, catalog = read_job(repository / "jobs" / "vlqr.yaml", profile="tiny")
    facts, _ = data_facts(job, catalog)
    started = time.perf_counter()
    measured = seconds_per_sample(job, "clean", catalog, facts[job.stages["clean"].data])
    assert 0 < measured < time.perf_counter() - started
