"""The parent's side of a worker process: starts it, sends it tasks and shares memory with it."""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
import weakref
from multiprocessing.connection import Connection

from blear.data.decoded.decode_task import DecodeTask

# without these malloc settings, memory of pictures above 100 kB is returned to the system after each of them
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 27)}
handles: weakref.WeakSet[WorkerHandle] = weakref.WeakSet()
"""All worker handles of this process."""


class WorkerHandle:
    """A worker process of one thread; other threads do not use it.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self) -> None:
        self._files, child_socket = socket.socketpair()
        with child_socket:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "blear.data.decoded.worker_process"],
                stdin=child_socket.fileno(),
                stdout=subprocess.DEVNULL,
                env=os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                process_group=0,  # Ctrl-C in the terminal interrupts the parent only
            )
        self._tasks = Connection(os.dup(self._files.fileno()))
        self._shared = os.memfd_create("blear-decoded")
        self._memory: mmap.mmap | None = None
        self._ready = self._lost = False
        self._finalizer = weakref.finalize(self, _terminate, self._process, self._shared, self._files, self._tasks)
        handles.add(self)

    @property
    def exited_idle(self) -> bool:
        """Whether the worker has exited because it had no task for a while."""
        return self._process.poll() == 0

    def is_ready(self, timeout: float = 0.0) -> bool:
        """Whether the worker accepts tasks; waits up to `timeout` seconds for its start."""
        if not self._ready and not self._lost:
            try:
                if self._tasks.poll(timeout):
                    self._tasks.recv()
                    self._ready = True
            except (OSError, EOFError):
                self._lost = True
        return self._ready and not self._lost

    def run(self, task: DecodeTask, source: int, target: int) -> dict[int, str] | None:
        """Returns the result of `task.run(source, target)`; None if the caller has to run the whole task itself."""
        try:
            socket.send_fds(self._files, [b"t"], [source, target])
            self._tasks.send(task)
            result: dict[int, str] | None = self._tasks.recv()
            return result
        except (OSError, EOFError):  # the worker has died
            self._lost = True
            return None

    def shared_memory(self, size: int) -> tuple[int, mmap.mmap]:
        """Memory of at least `size` bytes shared with the worker: its file descriptor, and the memory map."""
        if self._memory is None or len(self._memory) < size:
            os.ftruncate(self._shared, size)
            self._memory = mmap.mmap(self._shared, size)
        return self._shared, self._memory

    def detach(self) -> None:
        """Releases the handle in a forked child without ending the worker, which belongs to the parent."""
        self._finalizer.detach()
        _close(self._shared, self._files, self._tasks)


def _close(shared: int, files: socket.socket, tasks: Connection) -> None:
    os.close(shared)
    files.close()
    tasks.close()


def _terminate(process: subprocess.Popen[bytes], shared: int, files: socket.socket, tasks: Connection) -> None:
    _close(shared, files, tasks)
    process.kill()
    process.wait()
