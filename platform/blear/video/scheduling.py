"""Scheduling of threads, which an encoder changes."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_VERSION = 0x20080522  # of the structures of capget(2): two sets of 32 capabilities
_SYS_NICE = 1 << 23  # the right to real-time scheduling


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("thread", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def keep_scheduling() -> Iterator[None]:
    """Context in which to open the encoder SVT-AV1: neither the calling thread nor one of its own becomes real-time.

    Run as root, as in many containers, SVT-AV1 gives the calling thread and its own ones the policy SCHED_FIFO with
    priority 99. A thread with it that waits in a loop, as libvpx does, leaves other processes 5 % of its core. In the
    block, the calling thread, and threads that start there, lack the right to change it (CAP_SYS_NICE of Linux). It has
    no effect where the limit RLIMIT_RTPRIO permits real-time scheduling to everyone, and on other systems.
    """
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
