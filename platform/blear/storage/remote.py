"""Files below a URL: streamed with a time limit on every read, tried again after a failure, checked as they come."""

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

Result = TypeVar("Result")

PROTOCOLS = {"http": "", "https": "", "s3": "s3", "gs": "gcs"}
"""What a URL may begin with -> the extra of blear that reads it."""
_BLOCK = 8 << 20  # one ranged request of an object store; also what a failed one costs
_PIECE = 1 << 20
_TRY_LATER = (408, 429)  # the 4xx answers that are worth another try


@dataclass(frozen=True)
class Patience:
    """How long to believe in a server.

    Attributes:
        tries: requests for one file before giving up.
        first_s, most_s: seconds before the second try, doubled for each further one, and their limit.
        stall_s: seconds without a byte after which a try has failed.
    """

    tries: int = 6
    first_s: float = 0.5
    most_s: float = 30.0
    stall_s: float = 30.0

    def wait(self, failed: int) -> float:
        """Seconds to wait after `failed` tries: exponential, with jitter so that workers do not come back at once."""
        return min(self.most_s, self.first_s * 2 ** (failed - 1)) * random.uniform(0.5, 1.0)


PATIENT = Patience()


def is_url(place: str | Path) -> bool:
    """Whether a place is meant as a URL rather than as a folder."""
    return "://" in str(place)


@dataclass(frozen=True)
class Remote:
    """The files below one URL. Survives pickling; may be used from any thread."""

    url: str
    patience: Patience = PATIENT

    @staticmethod
    def of(url: str, patience: Patience = PATIENT) -> Remote:
        """Checks a URL without opening it.

        Raises:
            DataError: not a URL that can be read here; names the package that is missing, if one is.
        """
        import fsspec

        protocol = url.partition("://")[0]
        if protocol not in PROTOCOLS:
            what = f"cannot read {protocol}:// URLs"
            raise DataError(what, url, f"give a folder, or a URL of {', '.join(PROTOCOLS)}")
        try:
            parts = urlsplit(url)
            sound = bool(parts.hostname) and not (parts.query or parts.fragment) and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
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
        return Remote(url.rstrip("/"), patience)

    def read(self, name: str, most: int) -> bytes | None:
        """The whole of a small file; None if it is not there or may not be seen.

        Raises:
            DataError: it has more than `most` bytes, or the server does not give it.
        """

        def attempt() -> bytes | None:
            data = bytearray()
            try:
                for piece in _pieces(self, name, 0, most + 1)[1]:
                    data += piece
                    if len(data) > most:
                        break
            except (FileNotFoundError, PermissionError):  # object stores hide with 403 that a file is not there
                return None
            return bytes(data)

        found = self._patiently(name, attempt)
        if found is not None and len(found) > most:
            raise DataError(f"it has more than {most} bytes", f"{self.url}/{name}", "check what lies at this URL")
        return found

    def fetch(self, name: str, size: int, sha256: str, file: Path) -> None:
        """Copies a file of known size and digest; what was received stays on a failure, where the server has ranges.

        Raises:
            DataError: it is not there, or it is not whole and right after all tries; or `file` cannot be written.
        """
        try:
            with file.open("wb") as out:
                self._patiently(name, _Download(self, name, size, sha256, out))
        except OSError as error:  # of the network ones none comes through
            raise _unwritable(file, error) from error

    def _patiently(self, name: str, attempt: Callable[[], Result]) -> Result:
        where, tries = f"{self.url}/{name}", self.patience.tries
        for failed in range(1, tries + 1):
            try:
                return attempt()
            except _failures() as error:
                cause = _cause(error)
                if _final(error):
                    raise DataError(cause, where, "check the URL and the credentials") from error
                if failed == tries:
                    what, do = f"not read in {tries} tries; the last: {cause}", "mend the server or its files"
                    raise DataError(what, where, f"{do}; the same command continues") from error
                wait = self.patience.wait(failed)
                echo(f"{where}: {cause}; try {failed + 1} of {tries} in {wait:.1f} s")
                time.sleep(wait)
        raise ValueError("patience must allow one try")


class _UnsoundError(OSError):
    """What came is not what was asked for."""


@dataclass
class _Download:
    """One file on its way; each call is one try, which goes on where the last one broke off."""

    remote: Remote
    name: str
    size: int
    sha256: str
    out: BinaryIO
    have: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def __call__(self) -> None:
        start, pieces = _pieces(self.remote, self.name, self.have, self.size)
        if start != self.have:
            self._restart()
        for piece in pieces:
            self.have += len(piece)
            if self.have > self.size:
                self._restart()
                raise _UnsoundError(f"more came than the {self.size} bytes that dataset.json says")
            self.digest.update(piece)
            try:
                self.out.write(piece)
            except OSError as error:
                raise _unwritable(Path(self.out.name), error) from error
        if self.have < self.size:
            raise _UnsoundError(f"cut off after {self.have} of {self.size} bytes")
        if self.digest.hexdigest() != self.sha256:
            found = self.digest.hexdigest()
            self._restart()
            raise _UnsoundError(f"wrong content: SHA-256 {found[:12]}, dataset.json says {self.sha256[:12]}")

    def _restart(self) -> None:
        self.have, self.digest = 0, hashlib.sha256()
        self.out.seek(0)
        self.out.truncate()


def _unwritable(file: Path, error: OSError) -> DataError:
    do = "free some room there, or set BLEAR_CACHE to another folder of this machine"
    return DataError(f"cannot be written: {error.strerror or error}", str(file), do)


def _pieces(remote: Remote, name: str, start: int, end: int) -> tuple[int, Iterator[bytes]]:
    """(offset of the first byte, pieces) of a file; the offset is 0 where a server does not know ranges."""
    import fsspec

    protocol, _, rest = remote.url.partition("://")
    files = fsspec.filesystem(protocol, **_options(protocol, remote.patience.stall_s))
    if protocol == "s3":
        files.retries = 1  # s3fs has no option for its own tries
    if protocol not in ("http", "https"):
        return start, _blocks(files, f"{rest}/{name}", start, end)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    # block_size 0: one streaming answer; `size` spares a HEAD request
    stream = files.open(f"{remote.url}/{quote(name)}", "rb", block_size=0, size=end, headers=headers)
    return start if stream.r.status == 206 else 0, _streamed(stream)


def _streamed(stream: Any) -> Iterator[bytes]:
    with stream:
        while piece := stream.read(_PIECE):
            yield piece


def _blocks(files: Any, path: str, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        wanted = min(_BLOCK, end - start)
        block = files.cat_file(path, start=start, end=start + wanted)
        yield block
        start += len(block)
        if len(block) < wanted:
            return


def _options(protocol: str, stall_s: float) -> dict[str, Any]:
    """How each library is told the limit of silence; tries are counted here, so theirs are turned down."""
    from aiohttp import ClientTimeout

    if protocol == "s3":
        config = {"connect_timeout": stall_s, "read_timeout": stall_s, "retries": {"max_attempts": 0}}
        return {"config_kwargs": config}
    timeout = ClientTimeout(total=None, connect=stall_s, sock_read=stall_s)
    return {"session_kwargs" if protocol == "gs" else "client_kwargs": {"timeout": timeout}}


def _failures() -> tuple[type[Exception], ...]:
    """What the libraries raise when a server fails; those of libraries that are not loaded cannot occur."""
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


def _final(error: Exception) -> bool:
    """Whether another try is in vain."""
    if isinstance(error, FileNotFoundError | PermissionError) or "Credentials" in type(error).__name__:
        return True
    gcs = type(error).__module__.startswith("gcsfs")
    status = getattr(error, "code" if gcs else "status", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in _TRY_LATER


def _cause(error: Exception) -> str:
    """One line for a person: what failed, without the URL."""
    from aiohttp import ClientPayloadError

    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, TimeoutError):
        return "the server went silent"
    if isinstance(error, ClientPayloadError):
        return "the connection broke off"
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 400:
        return f"the server answers {status} {getattr(error, 'message', '')}".rstrip()
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
