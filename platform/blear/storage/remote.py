"""Reads files below a URL: streamed, with a timeout of every read, retries, and a check of the content."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote, urlsplit

from blear.errors import DataError
from blear.progress import echo
from blear.storage.activity import record_activity

Result = TypeVar("Result")

PROTOCOLS = {"http": "", "https": "", "s3": "s3", "gs": "gcs"}
"""Protocol of a URL -> the extra of blear that installs its reader; empty: no extra is needed."""
_BLOCK = 8 << 20  # bytes of one range request to an object store
_PIECE = 1 << 20  # bytes of one read of an HTTP response
_ANY_SIZE = 1 << 62
_RETRIED_STATUS = (408, 429)  # the 4xx status codes after which a request is retried


@dataclass(frozen=True)
class RetryPolicy:
    """Retries of failed requests, with exponential backoff.

    Attributes:
        tries: largest number of requests for one file.
        initial_wait_s: seconds before the second try; doubled for each further try.
        max_wait_s: limit of the wait.
        timeout_s: seconds without a byte after which a try has failed.
    """

    tries: int = 6
    initial_wait_s: float = 0.5
    max_wait_s: float = 30.0
    timeout_s: float = 30.0

    def wait_s(self, failed: int) -> float:
        """Seconds to wait after `failed` tries, with jitter so that workers do not retry at the same moment."""
        return min(self.max_wait_s, self.initial_wait_s * 2 ** (failed - 1)) * random.uniform(0.5, 1.0)


DEFAULT_RETRY = RetryPolicy()


def is_url(place: str | Path) -> bool:
    """Whether a text is a URL, not the path of a folder."""
    return "://" in str(place)


@dataclass(frozen=True)
class RemoteFolder:
    """Reads files below one URL; can be pickled, thread-safe."""

    url: str
    retry: RetryPolicy = DEFAULT_RETRY

    @staticmethod
    def parse(url: str, retry: RetryPolicy = DEFAULT_RETRY) -> RemoteFolder:
        """Checks a URL without a request.

        Raises:
            DataError: the URL is malformed, its protocol is not supported, or a package for it is not installed.
        """
        import fsspec

        protocol = url.partition("://")[0]
        if protocol not in PROTOCOLS:
            what = f"cannot read {protocol}:// URLs"
            raise DataError(what, url, f"give a folder, or a URL of {', '.join(PROTOCOLS)}")
        try:
            parts = urlsplit(url)
            valid = bool(parts.hostname) and not (parts.query or parts.fragment) and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise DataError("not the URL of a folder", url, f"write {protocol}://HOST/FOLDER, no '?' and no '#'")
        if parts.username or parts.password:
            do = "leave it out and give credentials as fsspec and the cloud's own tools take them"
            raise DataError("the URL holds a user or a password", f"{protocol}://...@{parts.hostname}", do)
        try:
            fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            extra = PROTOCOLS[protocol]
            do = f'pip install "blear[{extra}]"' if extra else "pip install aiohttp"
            raise DataError(f"a package that reads {protocol}:// is not installed: {error}", url, do) from error
        return RemoteFolder(url.rstrip("/"), retry)

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """Reads a small file.

        Args:
            name: path below the URL.
            max_bytes: largest accepted size.

        Returns:
            The content; None if the file does not exist or is not readable.

        Raises:
            DataError: the file has more than `max_bytes` bytes, or all tries failed.
        """

        def attempt() -> bytes | None:
            data = bytearray()
            try:
                for piece in _pieces(self, name, 0, max_bytes + 1)[1]:
                    data += piece
                    if len(data) > max_bytes:
                        break
            except (FileNotFoundError, PermissionError):  # some object stores return 403 for a missing file
                return None
            return bytes(data)

        content = self._with_retries(name, attempt)
        if content is not None and len(content) > max_bytes:
            raise DataError(f"it has more than {max_bytes} bytes", f"{self.url}/{name}", "check what lies at this URL")
        return content

    def fetch(self, name: str, size: int, sha256: str, file: Path) -> None:
        """Downloads a file and checks its size and digest. Where the server can, a retry continues the last try.

        Args:
            name: path below the URL.
            size: expected bytes.
            sha256: expected digest in hex.
            file: to write.

        Raises:
            DataError: the file does not exist, all tries failed, or `file` cannot be written.
        """
        try:
            with file.open("wb") as out:
                self._with_retries(name, _Download(self, name, size, sha256, out))
        except OSError as error:  # error of the local file; `_with_retries` converts network errors
            raise _unwritable(file, error) from error

    def fetch_unknown(self, name: str, file: Path) -> tuple[int, str]:
        """Downloads a file of unknown size and digest; returns both. The size is compared where the server gives it.

        Args:
            name: path below the URL.
            file: to write.

        Raises:
            DataError: as of `fetch`.
        """
        size = self._with_retries(name, lambda: _size(self, name))
        try:
            with file.open("wb") as out:
                download = _Download(self, name, _ANY_SIZE if size is None else size, "", out)
                self._with_retries(name, download)
        except OSError as error:
            raise _unwritable(file, error) from error
        return download.received, download.digest.hexdigest()

    def _with_retries(self, name: str, attempt: Callable[[], Result]) -> Result:
        """Calls `attempt` until it succeeds, fails permanently, or all tries are used."""
        where, tries = f"{self.url}/{name}", self.retry.tries
        for failed in range(1, tries + 1):
            try:
                return attempt()
            except request_failures() as error:
                cause = _cause(error)
                if _is_permanent(error):
                    raise DataError(cause, where, "check the URL and the credentials") from error
                if failed == tries:
                    what, do = f"not read in {tries} tries; the last: {cause}", "fix the server or its files"
                    raise DataError(what, where, f"{do}; the same command continues") from error
                wait = self.retry.wait_s(failed)
                echo(f"{where}: {cause}; try {failed + 1} of {tries} in {wait:.1f} s")
                time.sleep(wait)
        raise ValueError("RetryPolicy.tries must be at least 1")


class _WrongContentError(OSError):
    """The received bytes differ in size or digest from the expected ones."""


@dataclass
class _Download:
    """The download of one file; each call is one try, which continues where the last one ended.

    Attributes:
        size: expected bytes; `_ANY_SIZE`: unknown.
        sha256: expected digest; empty: unknown.
    """

    remote: RemoteFolder
    name: str
    size: int
    sha256: str
    out: BinaryIO
    received: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def __call__(self) -> None:
        start, pieces = _pieces(self.remote, self.name, self.received, self.size)
        if start != self.received:
            self._restart()
        for piece in pieces:
            self.received += len(piece)
            if self.received > self.size:
                self._restart()
                raise _WrongContentError(f"more than {self.size} bytes received, the size in dataset.json")
            self.digest.update(piece)
            try:
                self.out.write(piece)
            except OSError as error:
                raise _unwritable(Path(self.out.name), error) from error
        if self.received < self.size and self.size != _ANY_SIZE:
            raise _WrongContentError(f"truncated after {self.received} of {self.size} bytes")
        if self.sha256 and self.digest.hexdigest() != self.sha256:
            found = self.digest.hexdigest()
            self._restart()
            raise _WrongContentError(f"wrong content: SHA-256 {found[:12]}, dataset.json says {self.sha256[:12]}")

    def _restart(self) -> None:
        """Discards the received bytes."""
        self.received, self.digest = 0, hashlib.sha256()
        self.out.seek(0)
        self.out.truncate()


def _unwritable(file: Path, error: OSError) -> DataError:
    """The error for a local file that cannot be written."""
    do = "free some room there, or set BLEAR_CACHE to another folder of this machine"
    return DataError(f"cannot be written: {error.strerror or error}", str(file), do)


def _size(remote: RemoteFolder, name: str) -> int | None:
    """Requests the size of a file; None if the server does not give it."""
    files, place = _file_system(remote), f"{remote.url}/{name}"
    http = remote.url.startswith("http")
    size = files.info(f"{remote.url}/{quote(name)}" if http else place.partition("://")[2]).get("size")
    return None if size is None else int(size)


def _file_system(remote: RemoteFolder) -> Any:
    import fsspec

    protocol = remote.url.partition("://")[0]
    files = fsspec.filesystem(protocol, **_options(protocol, remote.retry.timeout_s))
    if protocol == "s3":
        files.retries = 1  # s3fs has no option for its number of retries
    return files


def _pieces(remote: RemoteFolder, name: str, start: int, end: int) -> tuple[int, Iterator[bytes]]:
    """Requests bytes `start` to `end` of a file.

    Returns:
        (offset of the first byte, pieces); the offset is 0 if the server does not support ranges.
    """
    protocol, _, rest = remote.url.partition("://")
    files = _file_system(remote)
    if protocol not in ("http", "https"):
        return start, _range_pieces(files, f"{rest}/{name}", start, end)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    # block_size 0: one streamed response; `size` avoids a HEAD request
    stream = files.open(f"{remote.url}/{quote(name)}", "rb", block_size=0, size=end, headers=headers)
    return start if stream.r.status == 206 else 0, _stream_pieces(stream)


def _stream_pieces(stream: Any) -> Iterator[bytes]:
    """Yields the pieces of an HTTP response."""
    with stream:
        while piece := stream.read(_PIECE):
            record_activity()
            yield piece


def _range_pieces(files: Any, path: str, start: int, end: int) -> Iterator[bytes]:
    """Yields pieces of a file in an object store, one range request each."""
    while start < end:
        wanted = min(_BLOCK, end - start)
        block = files.cat_file(path, start=start, end=start + wanted)
        record_activity()
        yield block
        start += len(block)
        if len(block) < wanted:
            return


def _options(protocol: str, timeout_s: float) -> dict[str, Any]:
    """Options of each library: the timeout, and no retries, since `RemoteFolder` retries."""
    from aiohttp import ClientTimeout

    if protocol == "s3":
        config = {"connect_timeout": timeout_s, "read_timeout": timeout_s, "retries": {"max_attempts": 0}}
        return {"config_kwargs": config}
    timeout = ClientTimeout(total=None, connect=timeout_s, sock_read=timeout_s)
    return {"session_kwargs" if protocol == "gs" else "client_kwargs": {"timeout": timeout}}


def request_failures() -> tuple[type[Exception], ...]:
    """Exception types that the libraries raise when a request fails; libraries that are not imported raise none."""
    import aiohttp

    kinds: list[type[Exception]] = [OSError, aiohttp.ClientError]
    if "botocore" in sys.modules:
        from botocore.exceptions import BotoCoreError, ClientError

        kinds += [BotoCoreError, ClientError]
    if "gcsfs" in sys.modules:
        from gcsfs.retry import HttpError
        from google.auth.exceptions import GoogleAuthError

        kinds += [HttpError, GoogleAuthError]
    return tuple(kinds)


def _is_permanent(error: Exception) -> bool:
    """Whether a retry would fail too."""
    if isinstance(error, FileNotFoundError | PermissionError) or "Credentials" in type(error).__name__:
        return True
    gcs = type(error).__module__.startswith("gcsfs")
    status = getattr(error, "code" if gcs else "status", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in _RETRIED_STATUS


def _cause(error: Exception) -> str:
    """Describes a failure in one line, without the URL."""
    from aiohttp import ClientPayloadError

    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, TimeoutError):
        return "the server sent nothing within the timeout"
    if isinstance(error, ClientPayloadError):
        return "the connection was closed early"
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 400:
        return f"the server returned status {status} {getattr(error, 'message', '')}".rstrip()
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
