"""Errors that a user can fix. Each has three parts: what happened, where it happened, and what to do."""

from __future__ import annotations


class BlearError(Exception):
    """Base class of errors in a user's file, job, plugin or data.

    The command line prints the three parts without a traceback and exits with code 2. The error survives pickling, so
    that it reaches the driver of a Ray job.

    Args:
        what: what happened, one sentence.
        where: the file, key or component in which it happened.
        do: the remedy for the user.
    """

    def __init__(self, what: str, where: str = "", do: str = "") -> None:
        super().__init__(what, where, do)  # pickle restores an exception from `args`
        self.what, self.where, self.do = what, where, do

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        return "\n".join([*lines, f"  -> {self.do}"] if self.do else lines)


class JobError(BlearError):
    """A job file is wrong. `what` lists every problem, one on each line."""


class PluginError(BlearError):
    """A plugin, or a component that a job names, cannot be used."""


class DataError(BlearError):
    """Raw data, a shard or a prepared dataset cannot be used."""


class RunError(BlearError):
    """A run folder or a checkpoint cannot be used."""


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message; the name of its class where there is no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
