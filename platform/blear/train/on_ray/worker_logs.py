"""The output of Ray's processes in the driver's terminal: the lines of blear and of plugins, without Ray's own."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from blear.progress import console

_RAY_ACTORS = (
    "TrainController",
    "PlacementGroupCleaner",
    "PreemptionWatcher",
    "SynchronizationActor",
    "TrainStateActor",
    "_QueueActor",
)
_RAY_TEXTS = (
    "Setting up process group for",
    "Moving model to device",
    "Wrapping provided model in",
    "Reporting training result",
)
_CORE = re.compile(r"\[\d{4}-\d\d-\d\d [\d:,]+ [IWE] \d+ \d+\]")  # a line of Ray's C++ core that is not fatal
_SERVICES = {  # words of their lines that matter to a user: what ends workers, nodes that cannot start
    "raylet": ("killed", "OOM", "disk", "Error", "Fatal"),
    "autoscaler": ("Error", "Warning", "Failed"),
}
_ENDED = re.compile(
    r"(?:Exception ignored in[^\n]*\n)?Traceback \(most(?:(?!Traceback).)*?in sigterm_handler\n"
    r"(?:(?!Traceback).)*?\nSystemExit: 1\n",
    re.DOTALL,
)
"""What a worker process prints that Ray ends by SIGTERM, wherever it is at that time."""
_JOB_MANAGER = re.compile(r".*\bjob_manager\.py:\d+ -- |Running entrypoint for job ")
_REPEATED_S = 5.0
_log = logging.getLogger(__name__)


def own_lines(batch: Mapping[str, Any]) -> list[str]:
    """The lines of a batch that Ray's log monitor has read, without those that Ray itself has written.

    Args:
        batch: `lines` of one process; `pid`, which is "raylet" or "autoscaler" for Ray's services; `actor_name`.
    """
    lines = [str(line) for line in batch.get("lines", ())]
    words = _SERVICES.get(str(batch.get("pid")))
    if words is not None:
        firsts = [line.splitlines()[0] for line in lines if line.strip()]  # the rest is a dump of the service's state
        return [line for line in firsts if any(word in line for word in words) and "will be retried" not in line]
    if str(batch.get("actor_name") or "").startswith(_RAY_ACTORS):
        return []
    text = _ENDED.sub("", "".join(f"{line}\n" for line in lines))
    return [line for line in text.split("\n")[:-1] if not _CORE.match(line) and not line.startswith(_RAY_TEXTS)]


def is_job_manager_line(line: str) -> bool:
    """Whether a line of a submitted job's log is of Ray's job manager."""
    return _JOB_MANAGER.match(line) is not None


class WorkerLogPrinter:
    """Prints the lines of a run's worker processes; all lines, Ray's own included, go to run.log.

    A line that several workers write within some seconds is printed once.
    """

    def __init__(self) -> None:
        self._printed: dict[str, float] = {}

    def __call__(self, batch: Mapping[str, Any]) -> None:
        """Prints one batch of the log monitor."""
        for line in batch.get("lines", ()):
            _log.debug("%s %s: %s", batch.get("actor_name") or batch.get("task_name") or "", batch.get("pid"), line)
        now = time.monotonic()
        self._printed = {line: at for line, at in self._printed.items() if now - at < _REPEATED_S}
        for line in own_lines(batch):
            if line in self._printed:
                continue
            self._printed[line] = now
            if batch.get("is_err"):
                console.print(line, markup=False, soft_wrap=True)
            else:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
