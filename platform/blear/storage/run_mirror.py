"""Keeps a run folder of this machine equal to a copy in object storage, so that another machine can continue the run.

The copy has one object for each version of a file, and `manifest.json`, which lists the current versions. A new
manifest replaces the old one in one conditional write, after all files that it lists are uploaded. Therefore a write
that stops halfway changes nothing, and of two writers one is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blear.errors import RunError
from blear.progress import duration, echo
from blear.storage.file_links import FileLinks
from blear.storage.object_store import ObjectStore, VersionConflict
from blear.storage.root import storage_url
from blear.storage.run_folder import JOB_FILE, existing_files, write_bytes
from blear.storage.run_lock import LOCK_FILE
from blear.storage.run_manifest import MANIFEST, Manifest, StoredFile, describe_writer, download_files, file_version
from blear.storage.transient import retry_transient

SYNC_S = 10.0
"""Seconds between two uploads of what has changed."""
LEASE_S = 120.0
"""A writer that has not renewed its manifest for this time is dead."""
FINAL_S = 600.0
"""Seconds for which the last upload of a run is repeated while the storage does not reply."""
_LINKS = ".uploads"
_LOCAL = ".manifest.json"  # the last manifest that this machine has written or read
_RENEW_S = LEASE_S / 4
_IN_MEMORY = 64 << 20  # bytes; a growing log is smaller, and a larger file never changes


class RunMirror:
    """Copies a run folder to the storage in a background thread, while it holds the storage's lock.

    Args:
        root: the run folder on this machine.
        store: the storage of the run.
        create: whether the run may be new.
        take_over: whether the last writer is known to be dead, so that its lease is not waited for. The folder is kept
            if that writer has uploaded nothing.
        ignored: names of files that another process mirrors.

    Raises:
        RunError: another machine writes to the run, or there is no such run.
        OSError: the storage does not reply.
    """

    def __init__(
        self,
        root: Path,
        store: ObjectStore,
        *,
        create: bool = True,
        take_over: bool = False,
        ignored: frozenset[str] = frozenset(),
    ) -> None:
        self._root, self._store, self._take_over, self._ignored = root, store, take_over, ignored
        host = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
        self._holder: dict[str, Any] = host
        self._known: dict[str, tuple[tuple[int, int], StoredFile]] = {}  # path -> ((size, mtime), version)
        self._lost: RunError | None = None
        self._complaint = ""
        self._obsolete: set[str] = set()  # keys of objects that no manifest lists, to be deleted
        found = retry_transient(lambda: store.read(MANIFEST), _no_reply, store.url)
        if found is None and not create:
            raise RunError("there is no such run", store.url, "`blear runs` lists the runs of the storage")
        self._manifest, self._version = self._acquire(found)
        self._written = time.monotonic()
        root.mkdir(parents=True, exist_ok=True)
        if found is not None:
            if self._manifest.files or not take_over:  # a dead writer may have uploaded nothing
                self._download()
            self._find_obsolete()
        self._folder = os.open(root, os.O_RDONLY)  # its inode is not used again for another folder
        self._done, self._wake, self._syncing = threading.Event(), threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="blear-storage", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Uploads what has changed, and releases the lock.

        Raises:
            RunError: another machine has taken over, the folder was deleted, or the storage did not reply within
                `FINAL_S`.
        """
        self._done.set()
        self._wake.set()
        self._thread.join()
        try:
            self._close()
        finally:
            os.close(self._folder)

    def _close(self) -> None:
        until = time.monotonic() + FINAL_S
        while self._lost is None:
            try:
                self.sync(release=True)
                return
            except (VersionConflict, RunError):
                continue
            except OSError as error:
                self._complain(error)
                if time.monotonic() > until:
                    what = f"the storage has not replied for {duration(FINAL_S)}: {error}"
                    do = f"the results are in {self._root}; the same command on this machine sends them"
                    raise RunError(what, self._store.url, do) from error
                time.sleep(min(SYNC_S, 2.0))
        if self._is_deleted():
            with contextlib.suppress(OSError, VersionConflict):
                self._write(Manifest(None, time.time(), self._manifest.files))
        raise self._lost

    def sync_or_wake(self, wait: bool) -> None:
        """Has the thread upload now what has changed; with `wait`, uploads it in this thread."""
        if not wait:
            self._wake.set()
            return
        with contextlib.suppress(OSError, VersionConflict):
            self.sync()

    def sync(self, *, release: bool = False) -> None:
        """Uploads the files that have changed, then the manifest.

        Raises:
            VersionConflict: another machine has taken over.
            RunError: this happened before, or the run folder was deleted; the copy in the storage is kept.
            OSError: the storage does not reply, or a folder cannot be read; nothing is lost, a later call repeats it.
        """
        with self._syncing:
            self._sync(release)

    def _sync(self, release: bool) -> None:
        if self._lost is not None:
            raise self._lost
        stored = self._manifest.files
        with FileLinks(self._root / _LINKS) as links:
            files = dict(self._scan(links))
            for name, version in list(files.items()):
                if stored.get(name) != version:
                    files[name] = self._upload(name, version, links.get(self._root / name))
                if time.monotonic() - self._written > _RENEW_S:
                    self._write(Manifest(self._holder, time.time(), stored))
            for name in links.missing(self._root):
                # a checkpoint that was deleted while it was read: its folder is left out as a whole
                files = {key: version for key, version in files.items() if Path(key).parent != Path(name).parent}
        if self._is_deleted():
            what = "the run folder was deleted or moved during the run; its copy in the storage is kept"
            self._lost = RunError(what, str(self._root), "give the same command again to continue from the copy")
            raise self._lost
        if files != stored or time.monotonic() - self._written >= _RENEW_S:
            self._obsolete |= {version.key(name) for name, version in stored.items()}
            self._write(Manifest(self._holder, time.time(), files))
        self._obsolete -= {version.key(name) for name, version in files.items()}
        for key in sorted(self._obsolete):
            self._store.delete([key])
            self._obsolete.remove(key)
        if release:  # after the deletions: the next holder may write the same objects
            self._write(Manifest(None, time.time(), files))

    def _upload(self, name: str, version: StoredFile, path: Path) -> StoredFile:
        """Uploads a file; returns the version that was uploaded, which is newer where the file has grown."""
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
                what = f"another run has taken over this run: {describe_writer(theirs.holder)}"
                self._lost = RunError(what, self._store.url, "wait for the end of the other run, or stop it")
                raise
            self._version = self._store.write(
                MANIFEST, content, replaces=found[1]
            )  # its own write whose reply was lost
        self._manifest, self._written = manifest, time.monotonic()
        if not self._is_deleted():
            write_bytes(self._root / _LOCAL, content)

    def _is_deleted(self) -> bool:
        """Whether the folder is another one than at the start, or has lost the job: all its files may be missing."""
        try:
            same = os.path.samestat(os.fstat(self._folder), self._root.stat())
        except FileNotFoundError:
            return True
        return not same or (JOB_FILE in self._manifest.files and not (self._root / JOB_FILE).is_file())

    def _acquire(self, found: tuple[bytes, str] | None) -> tuple[Manifest, str]:
        """Takes the lock; waits for the lease of a holder that may be dead.

        Args:
            found: the stored manifest and its version.
        """
        holder = None if found is None or self._take_over else Manifest.from_bytes(found[0]).holder
        if found is not None and holder is not None:
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
            # what this machine has written since is newer; what a cleaner of the cache has deleted comes back
            gone = {name: one for name, one in last.files.items() if not (self._root / name).is_file()}
            download_files(self._store, self._root, gone)
            return
        with FileLinks(self._root / _LINKS) as links:
            here = dict(self._scan(links))
        for name in here.keys() - self._manifest.files.keys():
            (self._root / name).unlink()
        missing = {name: stored for name, stored in self._manifest.files.items() if here.get(name) != stored}
        if count := download_files(self._store, self._root, missing):
            echo(f"{self._store.url}: {count} files of this run were downloaded")
        write_bytes(local, self._manifest.to_bytes())

    def _find_obsolete(self) -> None:
        """Finds the objects that a run which ended halfway has left: no manifest lists them.

        Only the holder of this manifest writes below `files`: workers of the run write to parts, which have their own
        folder and manifest. A holder that was taken for dead may still upload here; its manifest is refused, so that
        the objects which it loses are listed nowhere.
        """
        listed = {version.key(name) for name, version in self._manifest.files.items()}
        self._obsolete = set(self._store.keys("files")) - listed

    def _scan(self, links: FileLinks) -> Iterator[tuple[str, StoredFile]]:
        """Yields path and version of each file of the run folder; hidden files and the lock are no part of it.

        Args:
            links: gets the files whose stored version differs, before the first of them is read.

        Raises:
            OSError: a folder or file cannot be read.
        """
        found: list[tuple[str, tuple[int, int]]] = []
        for path in existing_files(self._root):
            inner = path.relative_to(self._root)
            if any(part.startswith(".") for part in inner.parts) or inner.name in {LOCK_FILE, *self._ignored}:
                continue
            with contextlib.suppress(FileNotFoundError):
                if not path.is_file():
                    continue
                state = path.stat()
                found.append((str(inner), (state.st_size, state.st_mtime_ns)))
                known = self._known.get(str(inner))
                if known is None or known[0] != found[-1][1] or self._manifest.files.get(str(inner)) != known[1]:
                    links.add(path)
        for name, mark in found:
            known = self._known.get(name)
            with contextlib.suppress(FileNotFoundError):
                if known is None or known[0] != mark:
                    known = self._known[name] = (mark, file_version(links.get(self._root / name)))
                yield name, known[1]

    def _loop(self) -> None:
        while not self._done.is_set():
            self._wake.wait(SYNC_S)
            self._wake.clear()
            if self._done.is_set():
                return
            try:
                self.sync()
                self._complaint = ""
            except (VersionConflict, RunError):
                if self._lost is not None:
                    echo(f"{self._store.url}: {self._lost.what}; this run stops")
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
            except OSError as error:
                self._complain(error)

    def _complain(self, error: OSError) -> None:
        """Prints once that the storage does not reply."""
        if not self._complaint:
            self._complaint = str(error)
            echo(f"{self._store.url} does not reply ({error}); the run goes on, and its files are sent later")


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
        _current.append(mirror)
        try:
            yield
        finally:
            _current.remove(mirror)


_current: list[RunMirror] = []
"""The mirrors of `mirrored` that are active in this process."""


def sync_current() -> None:
    """Uploads what has changed in the run of this process, so that workers on other nodes can download it.

    Raises:
        OSError: the storage does not reply.
        VersionConflict: another run has taken over.
    """
    for mirror in _current:
        mirror.sync()


def _no_reply(error: Exception) -> str | None:
    """A few words on a storage that does not reply; None for other errors."""
    return (
        "the storage does not reply" if isinstance(error, OSError) and not isinstance(error, PermissionError) else None
    )
