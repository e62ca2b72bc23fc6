"""Reads and writes objects below one URL; a conditional write replaces only the version that the writer has read."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from blear.errors import RunError
from blear.storage.durable import durable_file
from blear.storage.remote import PROTOCOLS, RemoteFolder, request_failures

_TIMEOUT_S = 30.0
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "412")


class VersionConflict(Exception):
    """Another writer has replaced the object since it was read."""


class ObjectStore:
    """The objects below one URL, for example `s3://bucket/path`.

    Only s3 has conditional writes. Elsewhere `write` compares the versions before it writes, so that two writers are
    told apart unless they write in the same moment.

    Args:
        url: `s3://`, `gs://`, or another protocol of fsspec, for instance `memory://` and `file://`.

    Raises:
        DataError, RunError: the URL is malformed, or a package for its protocol is not installed.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        protocol, _, rest = url.partition("://")
        if protocol in PROTOCOLS:
            RemoteFolder.parse(url)
        self.url, self._place = url.rstrip("/"), rest.rstrip("/")
        self._s3, self._local = protocol == "s3", protocol in ("file", "local")
        options: dict[str, Any] = {"use_listings_cache": False}
        if self._s3:
            timeouts = {"connect_timeout": _TIMEOUT_S, "read_timeout": _TIMEOUT_S, "retries": {"max_attempts": 0}}
            options["config_kwargs"] = timeouts
        try:
            self._files = fsspec.filesystem(protocol, **options)
        except (ImportError, ValueError) as error:
            raise RunError(f"this storage cannot be used: {error}", url, "give a folder, or an s3:// URL") from error
        if self._s3:
            self._files.retries = 1  # callers repeat; s3fs has no option for its number of retries

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Returns the content of an object and its version; None if there is none.

        Raises:
            OSError: the store does not reply.
        """
        while True:
            before = self.version(key)
            if before is None:
                return None
            try:
                with _os_errors():
                    content: bytes = self._files.cat_file(self._path(key))
            except FileNotFoundError:
                continue
            if not self._s3:
                return content, _digest(content)
            if self.version(key) == before:  # not replaced between the two requests
                return content, before

    def version(self, key: str) -> str | None:
        """Returns a text that changes with every write of an object; None if there is no object."""
        try:
            with _os_errors():
                if self._s3:
                    return str(self._files.info(self._path(key), refresh=True)["ETag"])
                return _digest(self._files.cat_file(self._path(key)))
        except FileNotFoundError:
            return None

    def write(self, key: str, content: bytes, *, replaces: str | None) -> str:
        """Writes an object if its version is still `replaces`; returns the new version.

        Args:
            replaces: version of the object; None: there is no object yet.

        Raises:
            VersionConflict: the object has another version.
            OSError: the store does not reply. The write may have happened.
        """
        if not self._s3:
            if self.version(key) != replaces:
                raise VersionConflict(key)
            with _os_errors():
                self._files.makedirs(self._path(key).rpartition("/")[0], exist_ok=True)
                if self._local:  # fsspec empties the file before it writes
                    with durable_file(Path(self._path(key)).expanduser()) as partial:
                        partial.write_bytes(content)
                else:
                    self._files.pipe_file(self._path(key), content)
            return _digest(content)
        bucket, _, inner = self._path(key).partition("/")
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        try:
            with _os_errors():
                reply = self._files.call_s3("put_object", Bucket=bucket, Key=inner, Body=content, **condition)
        except OSError as error:
            if isinstance(error, FileNotFoundError) or _is_conflict(error):
                raise VersionConflict(key) from error
            raise
        return str(reply["ETag"])

    def put(self, key: str, content: bytes) -> None:
        """Writes an object.

        Raises:
            OSError: the store does not reply.
        """
        with _os_errors():
            if not self._s3:
                self._files.makedirs(self._path(key).rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(self._path(key), content)

    def upload(self, path: Path, key: str) -> None:
        """Writes a file to an object.

        Raises:
            OSError: the store does not reply.
        """
        target = self._path(key)
        with _os_errors():
            if not self._s3:
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(path), target)

    def download(self, key: str, path: Path) -> None:
        """Writes an object to a file, whose folder is created.

        Raises:
            OSError: the store does not reply, or has no such object.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with _os_errors():
            self._files.get_file(self._path(key), str(path))

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects; missing ones are ignored."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError), _os_errors():
                self._files.rm_file(self._path(key))

    def delete_below(self, key: str) -> None:
        """Deletes all objects below a key; empty: below the URL."""
        place = self._path(key).rstrip("/")
        with contextlib.suppress(FileNotFoundError), _os_errors():
            for path in self._files.find(place):
                self._files.rm_file(path)

    def names(self, key: str) -> list[str]:
        """Returns the names directly below a key."""
        options = {"refresh": True} if self._s3 else {}
        try:
            with _os_errors():
                found = self._files.ls(self._path(key), detail=False, **options)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def keys(self, key: str) -> list[str]:
        """Returns the keys of all objects below a key, sorted.

        Raises:
            OSError: the store does not reply.
        """
        inside = self._path("").lstrip("/") + "/"
        with _os_errors():
            found = self._files.find(self._path(key))
        return sorted(path.lstrip("/").removeprefix(inside) for path in found if not path.endswith("/"))

    def find(self) -> list[str]:
        """Returns the URLs of all objects below the URL, sorted; where it has `*`, `?` or `[`, those that match.

        Raises:
            OSError: the store does not reply.
        """
        pattern = any(sign in self._place for sign in "*?[")
        with _os_errors():
            found = self._files.glob(self._place) if pattern else self._files.find(self._place)
        return sorted(f"{self.url.partition('://')[0]}://{path}" for path in found if not path.endswith("/"))

    def _path(self, key: str) -> str:
        return f"{self._place}/{key}" if key else self._place


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Context that converts the errors of all libraries to OSError."""
    try:
        yield
    except OSError:
        raise
    except request_failures() as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _is_conflict(error: BaseException) -> bool:
    """Whether S3 refused a conditional write."""
    link: BaseException | None = error
    while link is not None:
        if getattr(link, "response", {}).get("Error", {}).get("Code") in _CONFLICTS:
            return True
        link = link.__cause__
    return False


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
