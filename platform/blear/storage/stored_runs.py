"""The runs in object storage: their states, and the files of one run. Nothing is locked or changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blear.storage.object_store import ObjectStore
from blear.storage.run_archive import is_fetched
from blear.storage.run_manifest import MANIFEST, Manifest, StoredFile, describe_writer, download_files, read_current
from blear.storage.run_states import RunState


def stored_run_states(url: str) -> Iterator[RunState]:
    """Yields the state of each run below the URL of a storage, ordered by name.

    A run is running if its writer holds the lock; a writer whose machine has failed holds it until the next run.
    """
    for name in ObjectStore(f"{url}/runs").names(""):
        store = ObjectStore(f"{url}/runs/{name}")
        manifest = _manifest(store)
        if manifest is None:
            continue
        info = _info(store, manifest)
        started, finished = info.get("started"), info.get("finished")
        state = "running" if manifest.holder else "done" if finished and finished >= (started or "") else "stopped"
        note = describe_writer(manifest.holder) if manifest.holder else ""
        yield RunState(name, state, note, started, finished if state == "done" else None, None)


def fetch_stored_run(url: str, name: str, target: Path, *, weights: bool) -> list[Path]:
    """Downloads the report, the tables and the logs of a run; returns the paths of the written files.

    Raises:
        RunError: there is no such run.
        OSError: the storage does not reply.
    """
    store = ObjectStore(f"{url}/runs/{name}")

    def download(files: dict[str, StoredFile]) -> list[Path]:
        chosen = {inner: one for inner, one in files.items() if is_fetched(Path(inner), weights=weights)}
        download_files(store, target, chosen)
        return [target / inner for inner in chosen]

    return read_current(store, download)


def _manifest(store: ObjectStore) -> Manifest | None:
    found = store.read(MANIFEST)
    return None if found is None else Manifest.from_bytes(found[0])


def _info(store: ObjectStore, manifest: Manifest) -> dict[str, Any]:
    """The content of run.json; empty before it is written."""
    stored = manifest.files.get("run.json")
    found = None if stored is None else store.read(stored.key("run.json"))
    return {} if found is None else dict(json.loads(found[0]))
