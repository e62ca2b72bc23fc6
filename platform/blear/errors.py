"""The errors that a person can mend: each says what happened, where, and what to do."""

from __future__ import annotations


class BlearError(Exception):
    """A person's mistake (file, job, plugin, data). The command line prints it and exits with 2, never a traceback.

    Args:
        what: what happened, one sentence.
        where: the file, key or component it happened in.
        do: what to do about it.
    """

    def __init__(self, what: str, where: str = "", do: str = "") -> None:
        super().__init__(what, where, do)  # all three in `args`, so that the error survives pickling
        self.what, self.where, self.do = what, where, do

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        return "\n".join([*lines, f"  -> {self.do}"] if self.do else lines)


class JobError(BlearError):
    """The job file is wrong; `what` lists every problem found, one a line."""


class PluginError(BlearError):
    """A plugin, or a component named in a job, cannot be used."""


class DataError(BlearError):
    """Raw data, a shard or a prepared dataset cannot be used."""


class RunError(BlearError):
    """A run folder or a checkpoint cannot be used."""
