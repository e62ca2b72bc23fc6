"""Newest item wins: an iterator that a thread reads ahead, and of which a slow reader gets the last item."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """Reads an iterable in a thread; iteration yields its newest item that was not yielded yet, or waits for one.

    Args:
        items: is read from now on, and as fast as it comes.

    Attributes:
        dropped: number of items that were replaced by newer ones.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.dropped = 0
        self._changed = threading.Condition()
        self._waiting: list[Item] = []
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, args=(items,), name="newest frame", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._waiting.pop()
            yield item

    def stop(self) -> bool:
        """Ends the thread after its present item; whether it ended within two seconds."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(timeout=2.0)
        return not self._thread.is_alive()

    def _read(self, items: Iterable[Item]) -> None:
        try:
            for item in items:
                with self._changed:
                    if self._ended:
                        return
                    self.dropped += len(self._waiting)
                    self._waiting = [item]
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - is raised where the items are read
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()
