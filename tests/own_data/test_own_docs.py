"""The jobs in README.md and docs/own_data.md are read as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from own_files import picture

from blear.data.shared_samples import require_unseen
from blear.errors import DataError
from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data

ROOT = Path(__file__).parents[2]


def blocks(page):
    return re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/own_data.md"])
def test_the_first_job_prepares_a_folder(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLEAR_STORAGE", str(tmp_path))
    for number in range(6):
        picture(tmp_path / "pictures" / ("angry", "happy")[number % 2] / f"{number}.jpg")
    file = tmp_path / "job.yaml"
    file.write_text(next(block for block in blocks(page) if block.startswith("name: mine")))
    job, catalog = read_job(file)
    (folder,) = prepare_data(job, catalog, workers=1, runner="local").values()
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["test", "train"]


def test_every_data_section_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole, *sections = blocks("docs/own_data.md")
    picture(tmp_path / "pictures" / "a" / "1.png")
    (tmp_path / "faces.csv").write_text("file\n")
    for section in sections:
        name = re.search(r"^  (\S+):", section, re.MULTILINE)[1]
        stages = whole[whole.index("stages:") :].replace("data: faces", f"data: {name}")
        file = tmp_path / "job.yaml"
        file.write_text(f"name: mine\n{section}{stages}")
        job, _ = read_job(file)
        assert len(job.data) == 1


def test_samples_of_another_fold_are_not_reported_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLEAR_STORAGE", str(tmp_path))
    for number in range(9):
        picture(tmp_path / "pictures" / ("angry", "happy")[number % 2] / f"{number}.jpg")
    (tmp_path / "job.yaml").write_text(next(block for block in blocks("README.md") if block.startswith("name: mine")))
    folds = "matrix: {fold: [0, 1]}, use: folders, source: pictures, folds: 3, size: 16"
    changes = [f"data.faces_{{fold}}={{{folds}, fold: '{{fold}}'}}", "stages.robust.data=faces_1"]
    for data, overlap in (("faces_0", 3), ("faces_1", 0)):
        job, catalog = read_job(tmp_path / "job.yaml", overrides=(*changes, f"evaluate.data={data}"))
        prepared = prepare_data(job, catalog, workers=1, runner="local")
        if not overlap:
            require_unseen(job, prepared)
            continue
        with pytest.raises(DataError, match="stage 'robust' is trained on 3 of the 3 samples that `evaluate` reports"):
            require_unseen(job, prepared)
