"""Prepared shards in object storage, where BLEAR_STORAGE is a URL: written after `prepare`, read as they are used."""

from __future__ import annotations

from pathlib import Path

from blear.progress import track
from blear.storage.object_store import ObjectStore
from blear.storage.remote import PROTOCOLS
from blear.storage.root import storage_url

_INFO = "dataset.json"


def stored_shards(name: str) -> str | None:
    """Returns the URL of a prepared dataset; None if BLEAR_STORAGE has no complete dataset of this name.

    BLEAR_STORAGE has none if it is a folder, or a URL whose shards cannot be read, for instance `file://`.

    Args:
        name: name of the dataset's folder, which contains the digest of its parameters.

    Raises:
        OSError: the storage does not reply.
    """
    url = _readable_url()
    if url is None:
        return None
    store = ObjectStore(f"{url}/shards/{name}")
    return store.url if store.version(_INFO) is not None else None


def store_shards(folder: Path) -> None:
    """Uploads a prepared dataset, dataset.json last, where BLEAR_STORAGE is a URL of shards and does not have it.

    Raises:
        OSError: the storage does not reply; a repeated call uploads everything again.
    """
    url = _readable_url()
    if url is None or stored_shards(folder.name) is not None:
        return
    store = ObjectStore(f"{url}/shards/{folder.name}")
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    parts = [name for name in names if name != _INFO and not _is_local(name)]
    with track(f"upload {folder.name}", len(parts) + 1) as bar:
        for name in [*parts, _INFO]:
            store.upload(folder / name, name)
            bar.advance(1, name)


def _readable_url() -> str | None:
    """BLEAR_STORAGE, if it is a URL of a protocol that shards are read from."""
    url = storage_url()
    return url if url is not None and url.partition("://")[0] in PROTOCOLS else None


def _is_local(name: str) -> bool:
    """Whether a file is of this machine only: decoded shards, and files that are being written."""
    return any(part.startswith(".") or part == "cache" for part in Path(name).parts)
