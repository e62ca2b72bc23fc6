"""Models from a URL: downloaded with a checksum into the storage folder. Nothing is downloaded without being asked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blear.errors import DataError, JobError, RunError
from blear.models.card import CARD_FILE, TEXT_FILE, WEIGHTS_FILE
from blear.models.save import card_text, embedded_card
from blear.models.shipped import package_folders_of_plugins
from blear.storage.file_digest import file_digest
from blear.storage.remote import RemoteFolder
from blear.storage.root import storage_root
from blear.storage.run_folder import write_bytes, write_text

SOURCE_FILE = "download.json"
_MAX_BYTES = 2 << 30


class Download(BaseModel):
    """Content of `models/NAME/download.json` in the package of a plugin: a model that is not in the package itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    url: str = Field(description="weights file that `Model.save` wrote, with its card inside")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="digest of the file")
    summary: str = Field("", description="one sentence")


@dataclass(frozen=True)
class KnownDownload:
    """A model that a plugin names, with its full name `<plugin>/<model>`."""

    name: str
    source: Download


def known_downloads() -> list[KnownDownload]:
    """Lists the models that installed plugins name but do not hold.

    Raises:
        RunError: a download.json is damaged.
    """
    found = []
    for plugin, root in package_folders_of_plugins():
        for file in sorted(root.glob(f"models/*/{SOURCE_FILE}")):
            try:
                source = Download.model_validate(json.loads(file.read_bytes()))
            except (ValidationError, ValueError) as error:
                raise RunError(f"no valid download: {error}", str(file), "install the plugin again") from error
            found.append(KnownDownload(f"{plugin}/{file.parent.name}", source))
    return found


def models_root() -> Path:
    """The folder of downloaded models."""
    return storage_root() / "models"


def get_model(source: Download, name: str, *, replace: bool = True) -> Path:
    """Downloads a model, checks its digest and writes its folder; an equal model is not downloaded again.

    Args:
        source: URL (http, https, s3, gs or file) and digest.
        name: name of the folder.
        replace: whether another model of this name is replaced.

    Returns:
        The model folder.

    Raises:
        JobError: the name is none of a folder, or there is another model of this name and `replace` is false.
        DataError: the file cannot be read, or has another digest.
        RunError: it is no weights file with a card.
    """
    if not name or name != Path(name).name or name.startswith("."):  # `..` would be the storage folder itself
        raise JobError(f"{name!r} is no name of a model", do="give --name NAME without '/' and not with '.' first")
    folder = models_root() / name
    if _is_complete(folder, source):
        return folder
    if folder.exists() and not replace:
        do = "give another --name, or delete the folder"
        raise JobError(f"there is another model {name!r}", str(folder), do)
    content = _read(source.url)
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        what = f"wrong content: SHA-256 {found}, expected {source.sha256}"
        raise DataError(what, source.url, "check the URL and the checksum of its publisher")
    partial = models_root() / f".{name}.{os.getpid()}.partial"  # another process may download the same model
    try:
        write_bytes(partial / WEIGHTS_FILE, content)
        card = embedded_card(partial / WEIGHTS_FILE).model_copy(update={"name": name, "weights_sha256": found})
        write_text(partial / CARD_FILE, card.to_json())
        write_text(partial / TEXT_FILE, card_text(card))
        shutil.rmtree(folder, ignore_errors=True)
        try:
            partial.rename(folder)
        except OSError:
            if not _is_complete(folder, source):  # by another process
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _is_complete(folder: Path, source: Download) -> bool:
    weights = folder / WEIGHTS_FILE
    return weights.is_file() and (folder / CARD_FILE).is_file() and file_digest(weights) == source.sha256


def _read(url: str) -> bytes:
    protocol, _, rest = url.partition("://")
    if protocol == "file":
        path = Path(unquote(urlsplit(url).path))
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", str(path), "check the path") from error
    folder, _, name = rest.rpartition("/")
    if not folder or not name or "?" in name or "#" in name:
        raise DataError("not the URL of a file", url, "write https://HOST/FOLDER/FILE.safetensors, no '?' and no '#'")
    content = RemoteFolder.parse(f"{protocol}://{folder}").read(unquote(name), _MAX_BYTES)
    if content is None:
        raise DataError("there is no such file", url, "check the URL")
    return content
