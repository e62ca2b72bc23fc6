"""A TCP proxy in front of an S3 server on loopback. A test switches the server off, or cuts an upload halfway."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Proxy:
    """Forwards connections to a port.

    Attributes:
        away: whether new connections are closed at once.
        cut_at: closes each connection that sends more bytes than this; None: never.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.away = False
        self.cut_at: int | None = None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Ends the proxy."""
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.away:
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self._target))
        threading.Thread(target=self._copy, args=(server, client, False), daemon=True).start()
        self._copy(client, server, True)

    def _copy(self, source: socket.socket, target: socket.socket, upload: bool) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while (piece := source.recv(1 << 14)) and not self.away:
                sent += len(piece)
                if upload and self.cut_at is not None and sent > self.cut_at:
                    break
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    """Yields a running proxy."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
