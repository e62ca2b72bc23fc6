"""Logging: warnings go to stderr; all records of a run, with the tracebacks of its errors, go to its run.log."""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path

_TRACEBACKS = logging.getLogger("blear.traceback")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_levels: dict[str | None, int] = {}  # levels of loggers before `_log_everything`


class _Stderr(logging.Handler):
    """Prints warnings; with `debug` all records, tracebacks and Python's own warnings included."""

    def __init__(self, *, debug: bool) -> None:
        super().__init__(logging.DEBUG if debug else logging.WARNING)
        self.debug = debug

    def emit(self, record: logging.LogRecord) -> None:
        if self.debug or record.name not in (_TRACEBACKS.name, "py.warnings"):
            sys.stderr.write(f"{self.format(record)}\n")


class _RunFile(logging.FileHandler):
    """Appends all records to a file. A record that cannot be written, because the disk is full, is left out."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)  # prints a traceback

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


def log_to_stderr(*, debug: bool) -> None:
    """Starts the log of a command: warnings to stderr, and Python's warnings into the log."""
    _replace(_Stderr, _Stderr(debug=debug))
    if debug:
        _log_everything()
    logging.captureWarnings(capture=True)


def log_to_file(path: Path) -> None:
    """Also appends the log of this process to a file, in place of the file of an earlier call."""
    handler = _RunFile(path, encoding="utf-8", errors="backslashreplace")  # names of files may be no UTF-8
    handler.setFormatter(logging.Formatter(_FORMAT))
    _replace(_RunFile, handler)
    _log_everything()


def stop_logging() -> None:
    """Removes the handlers of `log_to_stderr` and `log_to_file`, and restores the levels of the loggers."""
    for kind in (_Stderr, _RunFile):
        _remove(kind)
    while _levels:
        name, level = _levels.popitem()
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


def log_error() -> Path | None:
    """Logs the exception that is being handled, with its traceback. Returns the path of run.log; None without a run."""
    _TRACEBACKS.error("the command failed", exc_info=True)
    files = [handler for handler in logging.getLogger().handlers if isinstance(handler, _RunFile)]
    return Path(files[0].baseFilename) if files else None


def _log_everything() -> None:
    for name, level in ((None, logging.INFO), ("blear", logging.DEBUG)):
        logger = logging.getLogger(name)
        _levels.setdefault(name, logger.level)
        logger.setLevel(level)


def _replace(kind: type[logging.Handler], handler: logging.Handler) -> None:
    _remove(kind)
    logging.getLogger().addHandler(handler)


def _remove(kind: type[logging.Handler]) -> None:
    root = logging.getLogger()
    for old in [each for each in root.handlers if type(each) is kind]:
        root.removeHandler(old)
        old.close()
