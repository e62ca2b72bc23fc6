"""Opens encoders. SVT-AV1 would make threads real-time ones, and write to stderr."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Any

_VERSION = 0x20080522  # of the structures of capget(2): two sets of 32 capabilities
_SYS_NICE = 1 << 23  # the right to real-time scheduling


def open_encoder(encoder: Any) -> None:
    """Opens an encoder of PyAV. Encoders of plugins are opened by this function before their first frame.

    Run as root, as in many containers, SVT-AV1 gives its threads and the calling thread the policy SCHED_FIFO with
    priority 99. If such a thread waits in a loop, as libvpx does, other processes get 5 % of its core. So the right to
    real-time scheduling (CAP_SYS_NICE of Linux) is removed from the calling thread, and from the threads that start
    meanwhile, until the encoder is open. Where RLIMIT_RTPRIO permits real-time scheduling without this right, SVT-AV1
    still uses it. SVT-AV1 writes errors only to stderr, unless SVT_LOG is set.

    Args:
        encoder: an `av.CodecContext` in mode "w", or that of a stream that is written.

    Raises:
        av.FFmpegError: the encoder refuses its options or the size of the frames.
    """
    os.environ.setdefault("SVT_LOG", "1")
    with _without_real_time():
        encoder.open(strict=False)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("thread", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def _without_real_time() -> Iterator[None]:
    """Context in which the calling thread has no right to real-time scheduling."""
    if sys.platform != "linux":
        yield
        return
    library = ctypes.CDLL(None)
    header, sets = _Header(_VERSION, 0), (_Capabilities * 2)()
    has_right = library.capget(ctypes.byref(header), sets) == 0 and bool(sets[0].effective & _SYS_NICE)
    if not has_right:
        yield
        return
    sets[0].effective &= ~_SYS_NICE
    library.capset(ctypes.byref(header), sets)
    try:
        yield
    finally:
        sets[0].effective |= _SYS_NICE
        library.capset(ctypes.byref(header), sets)
