"""Models from a URL: their digest, their card, their name for `blear.load`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import blear
from blear.cli import cli
from blear.errors import DataError, JobError, RunError
from blear.models.download import Download, get_model
from blear.storage.file_digest import file_digest


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Prints nothing."""


@pytest.fixture
def saved(run: blear.Run, tmp_path: Path) -> Path:
    return blear.load(run.folder, stage="classes").save(tmp_path / "saved") / "model.safetensors"


@pytest.fixture
def server(saved: Path) -> Iterator[str]:
    """The URL of the saved model's folder on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(saved.parent))) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_downloaded_model_is_loaded_by_its_name(
    run: blear.Run, faces: np.ndarray, saved: Path, server: str, storage: Path
) -> None:
    source = Download(url=f"{server}/model.safetensors", sha256=file_digest(saved))
    folder = get_model(source, "small")
    assert folder == storage / "models" / "small"
    assert sorted(file.name for file in folder.iterdir()) == ["card.json", "card.md", "model.safetensors"]
    model = blear.load("small")
    assert model.card.name == "small"
    expected = blear.load(run.folder, stage="classes")(faces)["emotion"]
    assert torch.equal(model(faces)["emotion"], expected)
    assert torch.equal(blear.load("downloaded/small")(faces)["emotion"], expected)
    gone = source.model_copy(update={"url": "http://127.0.0.1:9/model.safetensors"})
    assert get_model(gone, "small") == folder  # the digest is that of the file here: no request


def test_a_file_with_another_digest_or_without_a_card_is_not_kept(saved: Path, server: str, storage: Path) -> None:
    with pytest.raises(DataError, match="wrong content: SHA-256"):
        get_model(Download(url=f"{server}/model.safetensors", sha256="0" * 64), "small")
    with pytest.raises(DataError, match="there is no such file"):
        get_model(Download(url=f"{server}/other.safetensors", sha256="0" * 64), "small")
    other = saved.parent / "card.md"
    with pytest.raises(RunError, match="no weights file"):
        get_model(Download(url=other.as_uri(), sha256=file_digest(other)), "small")
    assert not list((storage / "models").iterdir())


def test_the_commands_list_show_and_get_models(saved: Path, storage: Path) -> None:
    def call(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["models", *arguments], catch_exceptions=False, standalone_mode=False).output

    assert "downloaded/" not in call()
    url = saved.as_uri()
    assert call("get", url, "--sha256", file_digest(saved), "--name", "small").strip() == str(storage / "models/small")
    assert "downloaded/small  " in call()
    assert "# small" in call("show", "small")
    assert '"name": "small"' in call("show", "small", "--json")
    with pytest.raises(JobError, match="a URL needs its checksum"):
        call("get", url)
    with pytest.raises(JobError, match="no SHA-256"):
        call("get", url, "--sha256", "abc")
    with pytest.raises(JobError, match="no model to download: 'other'"):
        call("get", "other")
    with pytest.raises(JobError, match="small: is already on this machine"):
        call("get", "small")


def test_a_name_that_leaves_the_folder_of_models_is_refused_and_nothing_is_deleted(saved: Path, storage: Path) -> None:
    """`..` was the storage folder, which the download replaced."""
    kept = storage / "runs" / "mine" / "log.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("work")
    source = Download(url=saved.as_uri(), sha256=file_digest(saved))
    for name in ("..", "../runs", "a/b", ".hidden", ""):
        with pytest.raises(JobError, match="is no name of a model"):
            get_model(source, name)
    assert kept.read_text() == "work"
    with pytest.raises(DataError, match="not the URL of a file"):
        get_model(source.model_copy(update={"url": "https://host/m.safetensors?download=true"}), "m")


def test_another_model_of_a_url_does_not_replace_one_of_the_same_name(
    run: blear.Run, saved: Path, storage: Path, tmp_path: Path
) -> None:
    """Many files are called model.safetensors, the default name of all of them."""
    other = blear.load(run.folder, stage="values").save(tmp_path / "other") / "model.safetensors"

    def get(file: Path) -> None:
        arguments = ["models", "get", file.as_uri(), "--sha256", file_digest(file)]
        CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)

    get(saved)
    get(saved)
    with pytest.raises(JobError, match="there is another model 'model'"):
        get(other)
    assert list(blear.load("model").labels) == ["emotion"]
    (storage / "models" / "model" / "card.json").unlink()
    with pytest.raises(JobError, match="there is another model 'model'"):
        get(other)
    get_model(Download(url=saved.as_uri(), sha256=file_digest(saved)), "model")  # an incomplete folder is written again
    assert blear.load("model").card.name == "model"


def test_two_downloads_of_a_model_at_the_same_time_leave_a_whole_one(saved: Path, storage: Path) -> None:
    """The unfinished folder of another process is not used, and not deleted."""
    unfinished = storage / "models" / ".small.partial"
    unfinished.mkdir(parents=True)
    (unfinished / "model.safetensors").write_bytes(b"half")
    get_model(Download(url=saved.as_uri(), sha256=file_digest(saved)), "small")
    assert blear.load("small").card.name == "small"
    assert (unfinished / "model.safetensors").read_bytes() == b"half"


def test_a_model_that_a_plugin_names_is_listed_as_missing_until_it_is_downloaded(
    saved: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "far-1.dist-info").mkdir(parents=True)
    (site / "far-1.dist-info" / "METADATA").write_text("Name: far\nVersion: 1\n")
    (site / "far-1.dist-info" / "entry_points.txt").write_text("[blear]\nfar = blear_far\n")
    (site / "blear_far" / "models" / "big").mkdir(parents=True)
    (site / "blear_far" / "__init__.py").write_text("PLUGIN_API = 1\n")
    source = Download(url=saved.as_uri(), sha256=file_digest(saved), summary="far away")
    (site / "blear_far" / "models" / "big" / "download.json").write_text(source.model_dump_json())
    monkeypatch.syspath_prepend(str(site))

    def call(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["models", *arguments], catch_exceptions=False, standalone_mode=False).output

    assert "far/big  not downloaded: blear models get far/big  far away" in call()
    call("get", "far/big")
    assert "downloaded/big  " in call()
    assert "not downloaded" not in call()
