"""A worker process, `python -m blear.data.decoded.worker_process`: reads decode tasks from a socket on standard input.

For each task there come one byte with the two open files, and the pickled task; the answer is what the task returns,
or None where a file failed: who asked does it again and meets the error himself. The helper ends with its parent, and
by itself when nothing comes for a while. It imports no torch.
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

from blear.data.decoded.decode_task import Task

_IDLE_S = 60.0


def main() -> None:
    """Does what comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    files, tasks = socket.socket(fileno=os.dup(0)), Connection(os.dup(0))
    with contextlib.suppress(OSError, EOFError):  # the parent has gone
        _serve(files, tasks)


def _serve(files: socket.socket, tasks: Connection) -> None:
    tasks.send(None)  # ready
    while select.select([files], [], [], _IDLE_S)[0]:
        descriptors = socket.recv_fds(files, 1, 2)[1]
        if len(descriptors) != 2:
            return
        task: Task = tasks.recv()
        try:
            answer = task.run(*descriptors)
        except OSError:
            answer = None
        for descriptor in descriptors:  # closed before the answer: the files are who asked's again
            os.close(descriptor)
        tasks.send(answer)


def _end_with_parent() -> None:
    """Ends this process in the middle of a task, too: the parent's locks on files are held here as well."""
    gone = select.poll()
    gone.register(0, select.POLLRDHUP)
    gone.poll()
    os._exit(1)


if __name__ == "__main__":
    main()
