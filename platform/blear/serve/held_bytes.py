"""A limit on the bytes of uploads and decoded frames that a server holds at one time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from blear.serve.limits import BusyError


class Claim:
    """Bytes that one request holds. After its release it counts nothing: a file may be decoded after its request."""

    def __init__(self, held: HeldBytes) -> None:
        self._held, self._bytes, self._open, self._lock = held, 0, True, threading.Lock()

    def add(self, count: int) -> None:
        """Adds bytes.

        Raises:
            BusyError: the server holds as many bytes as it may.
        """
        self._held.require_room()
        self.change(count)

    def release(self) -> None:
        """Gives back all bytes."""
        with self._lock:
            self._open = False
            self._held.change(-self._bytes)

    def change(self, count: int) -> None:
        """Adds bytes without a check."""
        with self._lock:
            if self._open:
                self._bytes += count
                self._held.change(count)


class HeldBytes:
    """Counts the bytes of all requests. The last one that is added may exceed the limit.

    Args:
        most: the limit.
    """

    def __init__(self, most: int) -> None:
        self._most, self._bytes, self._lock = most, 0, threading.Lock()

    @contextmanager
    def claim(self) -> Iterator[Claim]:
        """Yields the claim of a request, which ends with the context."""
        claim = Claim(self)
        try:
            yield claim
        finally:
            claim.release()

    def require_room(self) -> None:
        """Raises a BusyError where the limit is reached."""
        if self._bytes >= self._most:
            raise BusyError("too many uploads at one time", do="try again in a few seconds")

    def change(self, count: int) -> None:
        """Adds bytes, or subtracts them if negative."""
        with self._lock:
            self._bytes += count
