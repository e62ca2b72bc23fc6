"""Ports of loopback for servers and clusters of the tests."""

from __future__ import annotations

import random
import socket

_PORTS = range(20_000, 32_768)
"""Neither Ray's worker processes nor the system's choice of ports (from 32768) take one of these meanwhile."""


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        return port
