"""The three datasets pass the conformance suite on real files, and a bad row ends a command with one message."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner
from own_files import picture
from own_shards import sample, write_webdataset

from blear.cli import cli, main
from blear.plugin.conformance.datasets import dataset_checks
from blear.plugin.discovery import load_plugins


@pytest.fixture
def sources(tmp_path):
    """Example parameters of each dataset."""
    for number in range(6):
        picture(tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png")
    rows = "".join(f"pictures/{'ab'[n % 2]}/{n}.png,{'ab'[n % 2]}\n" for n in range(6))
    (tmp_path / "faces.csv").write_text(f"file,label\n{rows}")
    write_webdataset(tmp_path / "shards", {f"{n}": sample(n) for n in range(20)}, maxcount=10)
    return {
        "folders": {"source": str(tmp_path / "pictures")},
        "table": {"source": str(tmp_path / "faces.csv"), "targets": {"emotion": "label"}},
        "webdataset": {"source": str(tmp_path / "shards"), "targets": {"emotion": "cls"}},
    }


@pytest.mark.parametrize("name", ["folders", "table", "webdataset"])
def test_conformance(name, sources):
    registered = load_plugins().get("dataset", name)
    real = replace(registered, component=replace(registered.component, examples=(sources[name],)))
    checks = list(dataset_checks(real))
    for check in checks:
        check()
    assert len(checks) == 5


def test_a_bad_row_is_one_message_and_exit_code_2(sources, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "faces.csv").open("a") as table:
        table.write("pictures/a/9.png,a\n")
    monkeypatch.setattr(sys, "argv", ["blear", "prepare", "table", "faces.csv", "--set", "targets={emotion: label}"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    (first, _) = capsys.readouterr().err.strip().split("\n")
    assert "faces.csv, line 8: there is no file pictures/a/9.png" in first


def test_described(sources, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["prepare", "webdataset", "shards", "--describe", "--set", "targets={emotion: cls}"])
    assert done.exit_code == 0, done.output
    assert "targets: emotion, one of 0, 1, 2" in done.output
    assert "clip: 1 frames of 20x16, 3 channels" in done.output
