"""Asks by TCP whether a process still listens, which Ray itself notices late."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

_ANSWER_S = 5.0
_AT_ONCE = 64


def listens(address: tuple[str, int]) -> bool:
    """Whether a process listens at (host, port); false too where no answer comes within five seconds."""
    try:
        with socket.create_connection(address, _ANSWER_S):
            return True
    except (OSError, OverflowError):
        return False


def listening(addresses: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those of some addresses at which a process listens, asked at the same time."""
    asked = list(addresses)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {address for address, answer in zip(asked, pool.map(listens, asked), strict=True) if answer}
