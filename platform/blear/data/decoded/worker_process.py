"""Main program of a worker process, `python -m blear.data.decoded.worker_process`: runs decode tasks of its parent.

Protocol, over a socket on standard input: the worker sends None when it is ready. For each task the parent sends one
byte with two open files (source, target), then the pickled `DecodeTask`; the worker sends the result of the task, or
None after an `OSError`, and the parent then runs the task itself and raises the error.

The worker exits with its parent, and after 60 seconds without a task. It does not import torch.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from multiprocessing.connection import Connection

import cv2

from blear.data.decoded.decode_task import DecodeTask

_IDLE_S = 60.0


def main() -> None:
    """Runs tasks until the parent closes the socket or no task comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    files, tasks = socket.socket(fileno=os.dup(0)), Connection(os.dup(0))
    with contextlib.suppress(OSError, EOFError):  # the parent has closed the socket
        _serve(files, tasks)


def _serve(files: socket.socket, tasks: Connection) -> None:
    tasks.send(None)  # ready
    while select.select([files], [], [], _IDLE_S)[0]:
        descriptors = socket.recv_fds(files, 1, 2)[1]
        if len(descriptors) != 2:
            return
        task: DecodeTask = tasks.recv()
        try:
            result = task.run(*descriptors)
        except OSError:
            result = None
        for descriptor in descriptors:  # closed before the reply: the parent may then release its locks
            os.close(descriptor)
        tasks.send(result)


def _exit_with_parent() -> None:
    """Exits when the parent ends, also in the middle of a task: this process shares the file locks of its parent."""
    hangup = select.poll()
    hangup.register(0, select.POLLRDHUP)
    hangup.poll()
    os._exit(1)


if __name__ == "__main__":
    main()
