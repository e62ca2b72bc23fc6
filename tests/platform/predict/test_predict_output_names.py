"""Names of outputs that no one chose, and two commands with one output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blear.errors import RunError
from blear.predict.default_output import default_output
from blear.predict.journal import Journal, journal_inputs


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(out: str, *inputs: str) -> None:
    """An output and its facts, as `write_results` leaves them."""
    Path(out).write_text("{}\n")
    Path(f"{out}.meta.json").write_text(json.dumps({"inputs": {name: {} for name in inputs}}))


def test_predictions_of_other_inputs_are_kept() -> None:
    assert default_output(["a.mp4"]) == Path("predictions.jsonl")
    write("predictions.jsonl", "a.mp4", "b.mp4")
    assert default_output(["b.mp4", "a.mp4"]) == Path("predictions.jsonl")
    assert default_output(["a.mp4"]) == Path("predictions-2.jsonl")
    write("predictions-2.jsonl", "c.mp4")
    assert default_output(["a.mp4"]) == Path("predictions-3.jsonl")
    assert default_output(["c.mp4"]) == Path("predictions-2.jsonl")
    Path("predictions-2.jsonl.meta.json").unlink()  # whoever wrote it
    assert default_output(["c.mp4"]) == Path("predictions-3.jsonl")


def test_an_interrupted_prediction_is_continued_by_its_inputs_only() -> None:
    with Journal(Path("predictions.jsonl"), {"every": 5}, inputs=["a.mp4", "b.mp4"]):
        pass
    assert journal_inputs(Path("predictions.jsonl")) == {"a.mp4", "b.mp4"}
    assert journal_inputs(Path("predictions-2.jsonl")) is None
    assert default_output(["a.mp4", "b.mp4", "c.mp4"]) == Path("predictions.jsonl")
    assert default_output(["a.mp4"]) == Path("predictions-2.jsonl")
    Path(".predictions.jsonl.partial").write_text('{"settings": {"every": 5}}\n')  # of an older version
    assert default_output(["a.mp4"]) == Path("predictions.jsonl")
    with Journal(Path("predictions.jsonl"), {"every": 5}) as journal:
        journal.finish_input("a.mp4", {"faces": 0})
    with Journal(Path("predictions.jsonl"), {"every": 5}) as journal:
        assert list(journal.finished) == ["a.mp4"]


def test_a_damaged_first_line_is_no_journal() -> None:
    for line in (b"", b"{", b'{"inputs": 3}\n', b"\xff\n", b"[]\n"):
        Path(".out.jsonl.partial").write_bytes(line)
        assert journal_inputs(Path("out.jsonl")) == set()
        with Journal(Path("out.jsonl"), {"every": 5}, inputs=["a"]) as journal:
            assert journal.finished == {}
        assert journal_inputs(Path("out.jsonl")) == {"a"}


def test_one_command_at_a_time_writes_an_output() -> None:
    out = Path("out.jsonl")
    with Journal(out, {"every": 5}) as journal:
        journal.finish_input("a.mp4", {"faces": 0})
        for settings in ({"every": 5}, {"every": 1}):
            with pytest.raises(RunError, match="another command writes it now"):
                Journal(out, settings)
        journal.append({"input": "b.mp4"})
        journal.finish_input("b.mp4", {"faces": 1})
        assert list(journal.records(["b.mp4"])) == [{"input": "b.mp4"}]
        journal.delete()
    with Journal(out, {"every": 1}) as journal:
        assert journal.finished == {}
