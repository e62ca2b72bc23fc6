"""Reports of a worker to Ray Train in a background thread, so that no training step waits for Ray's controller."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

REPORT_EVERY_S = 5.0
_CLOSE_S = 10.0
_log = logging.getLogger(__name__)


class BackgroundReport:
    """Sends the newest values, at most every `every_s` seconds.

    `ray.train.report` is a barrier over all workers that takes about two seconds. The workers start it at the same
    step: `start` is called on all of them when `ready` is true on each of them.

    Args:
        report: `ray.train.report`.
    """

    def __init__(self, report: Callable[[dict[str, Any]], None], every_s: float = REPORT_EVERY_S) -> None:
        self._report, self._every_s = report, every_s
        self._newest: dict[str, Any] | None = None
        self._next = time.monotonic() + every_s
        self._thread: threading.Thread | None = None

    def update(self, values: dict[str, Any]) -> None:
        """Replaces the values of the next report."""
        self._newest = values

    @property
    def ready(self) -> bool:
        """Whether there are new values, the last report has ended, and `every_s` seconds have passed since."""
        busy = self._thread is not None and self._thread.is_alive()
        return self._newest is not None and not busy and time.monotonic() >= self._next

    def start(self) -> None:
        """Starts to send the newest values."""
        values, self._newest = self._newest, None
        self._next = time.monotonic() + self._every_s
        self._thread = threading.Thread(target=self._send, args=(values,), name="blear-report", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Waits for the running report, for some seconds at most: another worker may have died in it."""
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _send(self, values: dict[str, Any]) -> None:
        try:
            self._report(values)
        except Exception as error:  # noqa: BLE001  Ray raises many kinds; no checkpoint depends on a report
            _log.info("a report to Ray Train failed: %s", error)
