"""Keeps a run folder of this machine equal to a copy in object storage, so that another machine can continue the run.

The copy has one object for each version of a file, and `manifest.json`, which lists the current versions. A new
manifest replaces the old one in one conditional write, after all files that it lists are uploaded. Therefore a write
that stops halfway changes nothing, and of two writers one is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from blear.errors import RunError
from blear.progress import duration, echo
from blear.storage.object_store import ObjectStore, VersionConflict
from blear.storage.root import storage_url
from blear.storage.run_folder import write_bytes
from blear.storage.run_lock import LOCK_FILE
from blear.storage.transient import retry_transient

SYNC_S = 10.0
"""Seconds between two uploads of what has changed."""
LEASE_S = 120.0
"""A writer that has not renewed its manifest for this time is dead."""
FINAL_S = 600.0
"""Seconds for which the last upload of a run is repeated while the storage does not reply."""
MANIFEST = "manifest.json"
_LOCAL = ".manifest.json"  # the last manifest that this machine has written or read
_RENEW_S = LEASE_S / 4
_IN_MEMORY = 64 << 20  # bytes; a growing log is smaller, and a larger file never changes


@dataclass(frozen=True)
class StoredFile:
    """One version of a file in the storage.

    Attributes:
        size: in bytes.
        sha256: digest of the content.
    """

    size: int
    sha256: str

    def key(self, name: str) -> str:
        """The key of the object: a changed file has another one."""
        return f"files/{name}@{self.sha256[:12]}"


@dataclass
class Manifest:
    """The content of manifest.json.

    Attributes:
        holder: host, process and token of the run that writes; None after its end.
        renewed: changes with every write, so that a living holder can be told from a dead one without comparing clocks.
        files: path in the run folder -> its stored version.
    """

    holder: dict[str, Any] | None = None
    renewed: float = 0.0
    files: dict[str, StoredFile] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The JSON text."""
        return json.dumps({"format": 1, **asdict(self)}, indent=1).encode()

    @staticmethod
    def from_bytes(content: bytes) -> Manifest:
        """Reads the JSON text."""
        values = json.loads(content)
        files = {name: StoredFile(**stored) for name, stored in values["files"].items()}
        return Manifest(values["holder"], values["renewed"], files)


class RunMirror:
    """Copies a run folder to the storage in a background thread, while it holds the storage's lock.

    Args:
        root: the run folder on this machine.
        store: the storage of the run.
        create: whether the run may be new.

    Raises:
        RunError: another machine writes to the run, or there is no such run.
        OSError: the storage does not reply.
    """

    def __init__(self, root: Path, store: ObjectStore, *, create: bool = True) -> None:
        self._root, self._store = root, store
        host = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
        self._holder: dict[str, Any] = host
        self._known: dict[str, tuple[tuple[int, int], StoredFile]] = {}  # path -> ((size, mtime), version)
        self._lost = self._complaint = ""
        found = retry_transient(lambda: store.read(MANIFEST), _no_reply, store.url)
        if found is None and not create:
            raise RunError("there is no such run", store.url, "`blear runs` lists the runs of the storage")
        self._manifest, self._version = self._acquire(found)
        self._written = time.monotonic()
        root.mkdir(parents=True, exist_ok=True)
        if found is not None:
            self._download()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="blear-storage", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Uploads what has changed, and releases the lock.

        Raises:
            RunError: another machine has taken over, or the storage did not reply within `FINAL_S`.
        """
        self._done.set()
        self._thread.join()
        until = time.monotonic() + FINAL_S
        while not self._lost:
            try:
                self.sync(release=True)
                return
            except VersionConflict:
                continue
            except OSError as error:
                self._complain(error)
                if time.monotonic() > until:
                    what = f"the storage has not replied for {duration(FINAL_S)}: {error}"
                    do = f"the results are in {self._root}; the same command on this machine sends them"
                    raise RunError(what, self._store.url, do) from error
                time.sleep(min(SYNC_S, 2.0))
        raise RunError(self._lost, self._store.url, "wait for the end of the other run, or stop it")

    def sync(self, *, release: bool = False) -> None:
        """Uploads the files that have changed, then the manifest.

        Raises:
            VersionConflict: another machine has taken over; later calls do nothing.
            OSError: the storage does not reply; nothing is lost, a later call repeats it.
        """
        files, stored = dict(self._scan()), self._manifest.files
        for name, version in list(files.items()):
            if stored.get(name) != version:
                files[name] = self._upload(name, version)
            if time.monotonic() - self._written > _RENEW_S:
                self._write(Manifest(self._holder, time.time(), stored))
        for name in [name for name in files if not (self._root / name).is_file()]:
            # a checkpoint that was deleted during the upload: its folder is left out as a whole
            files = {key: version for key, version in files.items() if Path(key).parent != Path(name).parent}
        if files == stored and not release and time.monotonic() - self._written < _RENEW_S:
            return
        self._write(Manifest(None if release else self._holder, time.time(), files))
        kept = {version.key(name) for name, version in files.items()}
        self._store.delete(key for name, version in stored.items() if (key := version.key(name)) not in kept)

    def _upload(self, name: str, version: StoredFile) -> StoredFile:
        """Uploads a file; returns the version that was uploaded, which is newer where the file has grown."""
        path = self._root / name
        with contextlib.suppress(FileNotFoundError):
            if version.size > _IN_MEMORY:
                self._store.upload(path, version.key(name))
            else:
                content = path.read_bytes()
                version = StoredFile(len(content), hashlib.sha256(content).hexdigest())
                self._store.put(version.key(name), content)
        return version

    def _write(self, manifest: Manifest) -> None:
        content = manifest.to_bytes()
        try:
            self._version = self._store.write(MANIFEST, content, replaces=self._version)
        except VersionConflict:
            found = self._store.read(MANIFEST)
            theirs = Manifest.from_bytes(found[0]) if found is not None else Manifest()
            if found is None or (theirs.holder or {}).get("token") != self._holder["token"]:
                self._lost = f"another run has taken over this run: {describe_writer(theirs.holder)}"
                raise
            self._version = self._store.write(
                MANIFEST, content, replaces=found[1]
            )  # its own write whose reply was lost
        self._manifest, self._written = manifest, time.monotonic()
        write_bytes(self._root / _LOCAL, content)

    def _acquire(self, found: tuple[bytes, str] | None) -> tuple[Manifest, str]:
        """Takes the lock; waits for the lease of a holder that may be dead.

        Args:
            found: the stored manifest and its version.
        """
        if found is not None and (holder := Manifest.from_bytes(found[0]).holder) is not None:
            who = describe_writer(holder)
            echo(f"{self._store.url}: the last writer, {who}, has not ended; waiting {LEASE_S:g} s for it")
            until = time.monotonic() + LEASE_S
            while time.monotonic() < until:
                time.sleep(min(1.0, LEASE_S / 10))
                if (now := self._store.version(MANIFEST)) != found[1] and now is not None:
                    do = "wait for its end, stop it, or give another name: --set name=OTHER"
                    raise RunError(
                        f"another run writes to this storage: {describe_writer(holder)}", self._store.url, do
                    )
        manifest = Manifest() if found is None else Manifest.from_bytes(found[0])
        manifest.holder, manifest.renewed = self._holder, time.time()
        try:
            version = self._store.write(MANIFEST, manifest.to_bytes(), replaces=None if found is None else found[1])
        except VersionConflict as error:
            do = "wait for its end, or give another name: --set name=OTHER"
            raise RunError("another run started at the same time", self._store.url, do) from error
        return manifest, version

    def _download(self) -> None:
        """Makes the run folder equal to the stored one, unless this machine was the last to write it."""
        local = self._root / _LOCAL
        last = Manifest.from_bytes(local.read_bytes()) if local.is_file() else None
        if last is not None and last.files == self._manifest.files:
            return  # what this machine has written since is newer
        here = dict(self._scan())
        for name in here.keys() - self._manifest.files.keys():
            (self._root / name).unlink()
        missing = {name: stored for name, stored in self._manifest.files.items() if here.get(name) != stored}
        for name, stored in missing.items():
            path = self._root / name
            partial = path.with_name(f".{path.name}.partial")
            self._store.download(stored.key(name), partial)
            if _digest(partial) != stored:
                partial.unlink()
                do = "give the command again; if it fails again, delete the run in the storage"
                raise RunError("a stored file is damaged", f"{self._store.url}/{stored.key(name)}", do)
            partial.replace(path)
        if missing:
            echo(f"{self._store.url}: {len(missing)} files of this run were downloaded")
        write_bytes(local, self._manifest.to_bytes())

    def _scan(self) -> Iterator[tuple[str, StoredFile]]:
        """Yields path and version of each file of the run folder; hidden files and the lock are no part of it."""
        for path in sorted(self._root.rglob("*")):
            inner = path.relative_to(self._root)
            if any(part.startswith(".") for part in inner.parts) or inner.name == LOCK_FILE:
                continue
            with contextlib.suppress(FileNotFoundError):
                if not path.is_file():
                    continue
                state = path.stat()
                mark = (state.st_size, state.st_mtime_ns)
                known = self._known.get(str(inner))
                if known is None or known[0] != mark:
                    known = (mark, _digest(path))
                    self._known[str(inner)] = known
                yield str(inner), known[1]

    def _loop(self) -> None:
        while not self._done.wait(SYNC_S):
            try:
                self.sync()
                self._complaint = ""
            except VersionConflict:
                if self._lost:
                    echo(f"{self._store.url}: {self._lost}; this run stops")
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
            except OSError as error:
                self._complain(error)

    def _complain(self, error: OSError) -> None:
        """Prints once that the storage does not reply."""
        if not self._complaint:
            self._complaint = str(error)
            echo(f"{self._store.url} does not reply ({error}); the run goes on, and its files are sent later")


def _digest(path: Path) -> StoredFile:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return StoredFile(size, digest.hexdigest())


def describe_writer(holder: dict[str, Any] | None) -> str:
    """Host and process of a manifest's holder."""
    return "unknown" if holder is None else f"host {holder['host']}, process {holder['pid']}"


def run_store(name: str) -> ObjectStore | None:
    """Returns the objects of a run where BLEAR_STORAGE is a URL; else None."""
    url = storage_url()
    return None if url is None else ObjectStore(f"{url}/runs/{name}")


@contextlib.contextmanager
def mirrored(root: Path, *, create: bool = True) -> Iterator[None]:
    """While the block runs, a run folder is kept equal to its copy in object storage, if BLEAR_STORAGE is a URL.

    Raises:
        RunError: as `RunMirror`; at the end, that the storage did not receive everything.
    """
    store = run_store(root.name)
    if store is None:
        yield
        return
    try:
        mirror = RunMirror(root, store, create=create)
    except OSError as error:
        do = "check the URL, the credentials and the network, and give the command again"
        raise RunError(f"the storage does not reply: {error}", store.url, do) from error
    with contextlib.closing(mirror):
        yield


def _no_reply(error: Exception) -> str | None:
    """A few words on a storage that does not reply; None for other errors."""
    return (
        "the storage does not reply" if isinstance(error, OSError) and not isinstance(error, PermissionError) else None
    )
