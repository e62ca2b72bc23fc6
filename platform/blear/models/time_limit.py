"""A time limit for model files: a file is read, and a batch is computed, in a thread that the caller can leave."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from queue import SimpleQueue
from typing import Any, TypeVar

from blear.errors import RunError

SECONDS = "BLEAR_MODEL_SECONDS"
"""Environment variable with the time limit in seconds; 0: there is none."""
_DEFAULT = 300.0
_GRACE = 2.0  # seconds in which a stopped computation should end
_left: list[threading.Thread] = []  # computations that did not end when they were stopped

T = TypeVar("T")


class TimeLimitError(RunError):
    """A model takes more time than the limit."""


class TimeLimit:
    """Calls functions of one model in a thread, with a time limit for each call.

    A call beyond the limit is stopped. Where that is not possible (inside one operation of a library), it goes on in
    its thread, later calls fail at once, and `leave_process` ends the process without waiting for it.

    Args:
        where: file of the model, for messages.

    Attributes:
        seconds: the limit of a call; 0: none. First it is that of the variable BLEAR_MODEL_SECONDS, else 300.

    Raises:
        RunError: the variable is no number of seconds.
    """

    def __init__(self, where: str) -> None:
        self.seconds, self._where = _default_seconds(), where
        self._worker: _Worker | None = None
        self._stopped: _Worker | None = None

    def __call__(self, call: Callable[[], T], what: str, stop: Callable[[], object] | None = None) -> T:
        """Returns the result of a call.

        Args:
            call: the function.
            what: the work of the function, for messages.
            stop: asks the libraries that the work calls to end early; Python code ends by an exception anyway.

        Raises:
            TimeLimitError: the call exceeds the limit, or an earlier one has not ended.
        """
        if self._stopped is not None and self._stopped.is_alive():
            text = "an earlier computation exceeded the time limit and still runs"
            raise TimeLimitError(text, self._where, "start again without this model")
        if self._worker is None:
            self._worker = _Worker()
            weakref.finalize(self, self._worker.end)
        worker = self._worker
        future = worker.submit(call)
        try:
            if not _has_ended(future, self.seconds or None):
                do = f"give a smaller network, or set {SECONDS} to more seconds if you trust the file (0: no limit)"
                raise TimeLimitError(f"{what} takes more than {self.seconds:g} s", self._where, do)
        except BaseException:  # an interrupt stops the work too
            self._worker, self._stopped = None, worker
            if stop is not None:
                stop()
            worker.interrupt()
            worker.join(_GRACE)
            if worker.is_alive():
                _left.append(worker)
            raise
        return future.result()


def _has_ended(future: Future[Any], seconds: float | None) -> bool:
    """Waits until a function has ended, at most for some seconds."""
    try:
        future.exception(seconds)
    except TimeoutError:
        return False
    return True


class _StopError(Exception):
    """Raised in the thread of a computation that takes too long."""


class _Worker(threading.Thread):
    """A thread that runs one function after another. The process does not wait for it at its end."""

    def __init__(self) -> None:
        super().__init__(name="model", daemon=True)
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self.start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Runs a function after those before it."""
        future: Future[T] = Future()
        self._jobs.put((future, call))
        return future

    def run(self) -> None:
        """See `threading.Thread.run`."""
        with contextlib.suppress(_StopError, InvalidStateError):  # raised when the function has just ended
            while (job := self._jobs.get()) is not None:
                future, call = job
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - the caller of the function gets it
                    future.set_exception(error)
                del job, future, call  # not kept while the thread waits

    def interrupt(self) -> None:
        """Raises `_StopError` in the thread as soon as it executes Python code, and ends the thread."""
        self.end()
        if self.is_alive() and self.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident), ctypes.py_object(_StopError))

    def end(self) -> None:
        """Ends the thread after its functions."""
        self._jobs.put(None)


def computation_left() -> bool:
    """Whether a computation that was stopped still runs."""
    return any(thread.is_alive() for thread in _left)


def leave_process(code: int) -> None:
    """Ends the process at once if a stopped computation still runs: the interpreter's own end can crash then."""
    if computation_left():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _default_seconds() -> float:
    given = os.environ.get(SECONDS, "")
    try:
        seconds = float(given or _DEFAULT)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise RunError(f"{given!r} is no number of seconds", SECONDS, "give a number, or 0 for no limit")
    return seconds
