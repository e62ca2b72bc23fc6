"""The lock of a run folder: one process at a time writes to it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from blear.errors import RunError
from blear.progress import echo

LOCK_FILE = "run.lock"
_JOB_IDS = ("RAY_JOB_SUBMISSION_ID", "RAY_JOB_ID", "SLURM_JOB_ID")
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_MOUNTS = Path("/proc/self/mounts")
_NFS_LOCAL = ("nolock", "local_lock=all", "local_lock=flock")


@contextlib.contextmanager
def run_lock(root: Path) -> Iterator[None]:
    """Holds the lock of a run folder while the block runs; creates the folder.

    The lock is `flock` on `run.lock`, which the kernel releases when the process ends, and which NFS passes to the
    server. A file system that keeps no locks, or that keeps them on this machine only, is named in a warning. The file
    holds host, process and job of its holder.

    Raises:
        RunError: another process holds the lock; the message names it.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / LOCK_FILE
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            do = "wait for its end, stop it, or give another name: --set name=OTHER"
            raise RunError(f"another run writes to this folder: {describe_holder(path)}", str(root), do) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            echo(f"{root}: this file system has no locks ({error.strerror}); run one job in this folder at a time")
        if local_locks(root, _MOUNTS):
            echo(f"{root}: NFS is mounted with local locks; no other machine may run a job in this folder")
        _write(file, json.dumps(_self()))
        try:
            yield
        finally:
            _write(file, "")


def local_locks(folder: Path, mounts: Path) -> bool:
    """Whether a folder lies on NFS that is mounted so that locks are kept on this machine only.

    Args:
        mounts: the table of mounts, in the format of /proc/self/mounts.
    """
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return False
    resolved, found = folder.resolve(), (-1, False)
    for line in lines:
        fields = line.split(" ")
        point = Path(fields[1].encode().decode("unicode_escape"))
        if resolved.is_relative_to(point):
            local = fields[2].startswith("nfs") and any(option in _NFS_LOCAL for option in fields[3].split(","))
            found = max(found, (len(point.parts), local))
    return found[1]


def _self() -> dict[str, str | int]:
    """This process, as the file describes it."""
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    job = next((f"{os.environ[name]}" for name in _JOB_IDS if os.environ.get(name)), "")
    return {"host": socket.gethostname(), "pid": os.getpid(), "job": job, "since": since}


def describe_holder(path: Path) -> str:
    """Describes the process that holds the lock."""
    try:
        holder = json.loads(path.read_text())
        job = f", job {holder['job']}" if holder["job"] else ""
        return f"host {holder['host']}, process {holder['pid']}{job}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its holder is not known"


def _write(file: TextIO, text: str) -> None:
    with contextlib.suppress(OSError):  # only a message depends on it
        file.seek(0)
        file.truncate()
        file.write(text)
        file.flush()
