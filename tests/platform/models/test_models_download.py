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
