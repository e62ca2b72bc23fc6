"""`blear prepare DATASET SOURCE --describe`: terms, targets, splits and counts; errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from data_toy import toy_ref

from blear.cli import main
from blear.data.prepare.description import describe_dataset
from blear.errors import DataError, PluginError
from blear.plugin.catalog import RegisteredComponent
from blear.plugin.component_ref import ComponentRef
from blear.plugin.discovery import load_plugins


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], storage: Path):
    """call("--workers", ...) -> (exit code, lines on stdout, stderr) of `blear prepare`."""

    def run(*arguments: str) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "argv", ["blear", "prepare", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        assert not storage.exists()
        return code, printed.out.splitlines(), printed.err

    return run


def registered(ref: ComponentRef) -> RegisteredComponent:
    return load_plugins(ref.plugin_files).get(ref.slot, ref.name)


def test_a_dataset_is_described_with_the_counts_of_its_samples(tmp_path: Path) -> None:
    ref = toy_ref(tmp_path, kind="clips", samples=5)
    assert list(describe_dataset(registered(ref), ref.params)) == [
        "toy/random: Random pictures",
        "terms: Made of random numbers.",
        "targets: emotion, one of sad, glad; valence, a value within [-1.0, 1.0]",
        "clip: 4 frames of 5x6, 3 channels",
        "split train: 2 parts, 10 samples",
        "  emotion: 6 sad, 4 glad",
        "split test: 2 parts, 10 samples",
        "  emotion: 6 sad, 4 glad",
    ]


def test_a_sample_that_breaks_the_contract_is_named(tmp_path: Path) -> None:
    ref = toy_ref(tmp_path, fault="class")
    with pytest.raises(
        DataError, match=r"split test, part part1, sample part1/002: target emotion is 2, expected a class"
    ):
        list(describe_dataset(registered(ref), ref.params))


def test_counting_stops_after_the_time_limit(tmp_path: Path) -> None:
    ref = toy_ref(tmp_path, samples=5)
    lines = list(describe_dataset(registered(ref), ref.params, read_s=-1))
    assert lines[4:] == [f"split {s}: 2 parts, more than 0 samples (not all were read)" for s in ("train", "test")]


def test_lines_of_the_datasets_describe_method_are_included(tmp_path: Path) -> None:
    ref = toy_ref(tmp_path)
    (file,) = ref.plugin_files
    own = Path(file).with_name("toy_more.py")
    more = '    def describe(self):\n        return {"missing": "labels of 3 clips"}\n\n    def parts('
    own.write_text(Path(file).read_text().replace("    def parts(", more, 1))
    lines = list(describe_dataset(load_plugins((str(own),)).get("dataset", "toy_more/random"), {}))
    assert lines[4] == "missing: labels of 3 clips"


def test_without_a_source_the_terms_are_printed(call) -> None:
    code, out, _ = call("fer/fer2013", "--describe")
    assert code == 0
    terms = load_plugins().get("dataset", "fer/fer2013").attribute("terms")
    assert out[0].startswith("fer/fer2013: ")
    assert out[1] == f"terms: {terms}"
    assert out[2].startswith("missing: source, fer2013.csv, ")


def test_a_missing_source_prints_the_terms_and_the_error(call, tmp_path: Path) -> None:
    code, out, err = call("fer/fer2013", str(tmp_path / "none"), "--describe")
    assert code == 2
    assert out[1].startswith("terms: FER2013")
    assert "no such file or folder" in err


def test_a_procedural_dataset_needs_no_source(call) -> None:
    small = ("--set", "size=48", "--set", "subjects={train: 2, dev: 1}", "--set", "per_subject=4")
    code, out, _ = call("procedural", "--describe", *small)
    assert code == 0
    assert "clip: 1 frames of 48x48, 3 channels" in out
    assert "split train: 1 parts, 8 samples" in out
    assert "split dev: 1 parts, 4 samples" in out


def test_a_job_and_a_wrong_parameter_are_errors(call, repository: Path) -> None:
    code, _, err = call(str(repository / "jobs" / "vlqr.yaml"), "--describe")
    assert code == 2
    assert "--describe needs a dataset, not a job" in err
    with pytest.raises(PluginError, match="sizes"):
        list(describe_dataset(load_plugins().get("dataset", "faces/procedural"), {"sizes": 3}))
