"""Retries calls to a cluster whose errors may be transient, for instance while its head starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from blear.progress import duration, echo

Result = TypeVar("Result")

TRANSIENT_S = 120.0
"""Seconds for which a transient error is retried."""
_EVERY_S = 2.0


def retry_transient(call: Callable[[], Result], reason: Callable[[Exception], str | None], where: str) -> Result:
    """Calls a function until it succeeds; after an error that is not transient, or after `TRANSIENT_S`, raises it.

    The first transient error is printed, so that the user knows what the command waits for.

    Args:
        call: the function. A repeated call must have no other effect than one call.
        reason: returns a few words on a transient error; None if the error is not transient.
        where: the address, for the printed line.
    """
    until, printed = time.monotonic() + TRANSIENT_S, ""
    while True:
        try:
            return call()
        except Exception as error:
            why = reason(error)
            if why is None or time.monotonic() >= until:
                raise
            if why != printed:
                printed = why
                left = duration(max(1.0, round(until - time.monotonic())))
                echo(f"{where}: {why}; it may be starting, so this is tried again for up to {left}")
            time.sleep(min(_EVERY_S, max(0.0, until - time.monotonic())))
