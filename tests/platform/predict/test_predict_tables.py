"""Tables of predictions: row groups of inputs, rows of broken inputs."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from blear.errors import RunError
from blear.predict import output
from blear.predict.inputs import Input
from blear.predict.journal import Journal
from blear.predict.one_input import file_version
from blear.predict.output import InputRecords, read_output, write_output
from blear.predict.rows import columns, require_free_names


def record(name: str, frame: int) -> dict:
    """A record of a regression target, as `to_record` makes it."""
    place = {"seconds": frame / 25, "frames": frame, "coordinates": [0, 0, 9, 9], "id": 0, "object": "0"}
    quality = {"face_px": 9.0, "detection": None, "interpolated": False, "damaged": False, "degradation": {}}
    return {"input": name, "type": "valence", **place, **quality, "valence": 0.5, "smoothed": {"valence": 0.25}}


def inputs() -> Iterator[InputRecords]:
    """Two pictures, a video of five faces, a broken file, a video without a face, one that breaks off, a picture."""
    for name, faces, error in (
        ("1.png", 1, None),
        ("2.png", 1, None),
        ("3.avi", 5, None),
        ("4.avi", 0, "no frame can be decoded"),
        ("5.avi", 0, None),
        ("6.avi", 1, "the file ends early"),
        ("7.png", 1, None),
    ):
        yield InputRecords(name, [record(name, frame) for frame in range(faces)], error)


@pytest.fixture
def rows() -> list[tuple[str, str | None]]:
    """(input, error) of the rows of `inputs`."""
    broken = {"4.avi": "no frame can be decoded", "6.avi": "the file ends early"}
    good = ["1.png", "2.png", *["3.avi"] * 5]
    return [*((name, None) for name in good), *broken.items(), ("6.avi", None), ("7.png", None)]


def test_a_broken_input_is_a_row_with_its_reason(tmp_path: Path, rows: list[tuple[str, str | None]]) -> None:
    for suffix in ("csv", "parquet"):
        write_output(inputs(), tmp_path / f"out.{suffix}", ["valence"], {})
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    stored = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert sorted((row["input"], row["error"]) for row in stored) == sorted((name, why or "") for name, why in rows)
    assert [(row["input"], row["error"] or "") for row in table] == [(row["input"], row["error"]) for row in stored]
    (broken,) = [row for row in table if row["input"] == "4.avi"]
    assert {name for name, value in broken.items() if value is not None} == {"input", "error"}
    for suffix in ("csv", "parquet"):
        read = [row["input"] for row in read_output(tmp_path / f"out.{suffix}", ["valence"], {})]
        assert read == [name for name, why in [*rows[:7], *rows[9:]]], suffix


def test_each_video_is_a_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def groups(out: Path) -> list[list[str]]:
        file = pq.ParquetFile(out)
        return [file.read_row_group(n, ["input"])["input"].to_pylist() for n in range(file.num_row_groups)]

    out = tmp_path / "out.parquet"
    write_output(inputs(), out, ["valence"], {})
    singles = [["1.png", "2.png"], ["3.avi"] * 5, ["4.avi"], ["6.avi"] * 2, ["7.png"]]
    assert groups(out) == singles
    monkeypatch.setattr(output, "_ROWS", 2)
    write_output(inputs(), out, ["valence"], {})
    assert groups(out) == [
        ["1.png", "2.png"],
        ["3.avi"] * 2,
        ["3.avi"] * 2,
        ["3.avi", "4.avi"],
        ["6.avi"] * 2,
        ["7.png"],
    ]


def test_the_journal_returns_records_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with Journal(out, {}) as journal:
        for name, count in (("b", 2), ("a", 3), ("c", 0)):
            for frame in range(count):
                journal.append(record(name, frame))
            journal.finish_input(name, {"faces": count})
        journal.append(record("d", 0))  # not finished
    with Journal(out, {}) as journal:
        journal.append_lines(b'{"input": "d", "frames": 7}\n')
        journal.finish_input("d", {"faces": 1})
        found = [(one["input"], one["frames"]) for one in journal.records(["d", "a", "b", "c"])]
    assert found == [("d", 7), ("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]


def test_an_input_that_changed_after_it_was_finished_begins_again(tmp_path: Path) -> None:
    out, before = tmp_path / "out.jsonl", {"a": [1, 1, 1], "b": [2, 2, 1], "c": None}
    with Journal(out, {}, before) as journal:
        for name in before:
            journal.append(record(name, 0))
            journal.finish_input(name, {"faces": 1})
    changed = before | {"a": [1, 9, 1]}
    with Journal(out, {}, changed) as journal:
        assert list(journal.finished) == ["b", "c"]
        assert [one["input"] for one in journal.kept_records()] == ["b", "c"]
        journal.append(record("a", 7))
        journal.finish_input("a", {"faces": 1})
    with Journal(out, {}, changed) as journal:
        assert [one["frames"] for one in journal.records(["a", "b", "c"])] == [7, 0, 0]
    with Journal(out, {}, before) as journal:  # the older file is there again
        assert list(journal.finished) == ["b", "c"]


def test_a_journal_without_versions_is_continued(tmp_path: Path) -> None:
    end = '{"input_end": "a", "facts": {"faces": 0}}'
    (tmp_path / ".out.csv.partial").write_text(f'{{"inputs": ["a"], "settings": {{}}}}\n{end}\n')
    with Journal(tmp_path / "out.csv", {}, {"a": [1, 1, 1]}) as journal:
        assert journal.finished == {"a": {"faces": 0}}


def test_the_version_of_an_input_changes_with_its_files(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.png", "clip/1.png", "clip/2.webp", "clip/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
        os.utime(tmp_path / name, ns=(5, 5))
    inputs = [
        Input(tmp_path / "a.mp4", is_picture=False),
        Input(tmp_path / "a.png", is_picture=True),
        Input(tmp_path / "clip", is_picture=False, is_folder=True),
    ]
    before = [file_version(one) for one in inputs]
    assert before == [[5, 5, 1], [5, 5, 1], [10, 5, 2]]
    for name in ("a.mp4", "a.png", "clip/1.png"):
        os.utime(tmp_path / name, ns=(6, 6))
    assert [file_version(one) for one in inputs] == [[5, 6, 1], [5, 6, 1], [10, 6, 2]]
    remote = Input(tmp_path / "a.mp4", is_picture=False, given="s3://bucket/a.mp4")
    stream = Input(tmp_path / "a.mp4", is_picture=False, address="rtsp://host/a.mp4")
    gone = Input(tmp_path / "gone.png", is_picture=True)
    assert [file_version(one) for one in (remote, stream, gone)] == [None] * 3


def test_targets_with_the_name_of_another_field_are_refused() -> None:
    require_free_names(["emotion", "valence"], {"emotion": ("sad", "happy")})
    for target in ("class", "frames", "score", "id", "frame", "person", "error", "smoothed", "blur", "abstained"):
        for labels in ({}, {target: ("a", "b")}):
            with pytest.raises(RunError, match=f"the target '{target}' has the name of another field"):
                require_free_names([target], labels)
    with pytest.raises(RunError, match="the target 'emotion_score' has the name of another field"):
        require_free_names(["emotion", "emotion_score"], {"emotion": ("sad", "happy")})


def test_plots_have_one_scale_for_all_people_and_a_line_at_zero() -> None:
    from array import array

    from blear.predict.plot import _Curves, _limits

    def curves(*values: float) -> _Curves:
        seconds = array("d", range(len(values)))
        return _Curves(seconds, {"valence": array("f", values), "valence_smoothed": array("f", values)})

    assert _limits([curves(-0.2, 0.3), curves(0.1)], "valence") == (-1.05, 1.05)
    assert _limits([curves(0.5, -1.2), curves(0.1)], "valence") == pytest.approx((-1.26, 1.26))
    assert _limits([curves(2, 8), curves(1, 9)], "valence") == pytest.approx((0.6, 9.4))
    assert _limits([], "valence") == (-1.05, 1.05)


def test_every_column_is_documented(repository: Path) -> None:
    page = (repository / "docs" / "predict.md").read_text()
    table = page.partition("| column | JSON Lines | value |")[2].partition("\n\n")[0]
    documented = {
        name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.partition("|")[2].partition("|")[0])
    }
    expected = columns(["TARGET"], {"TARGET": ("CLASS",)})
    assert documented == set(expected)
