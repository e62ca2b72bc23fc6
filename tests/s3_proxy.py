"""A TCP proxy in front of an S3 server on loopback. A test switches the server off, or cuts an upload halfway."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator


class Proxy:
    """Forwards connections to a port. Each connection has one thread, which alone closes its two sockets.

    Attributes:
        away: whether connections are closed: new ones at once, others at their next piece.
        cut_at: closes each connection that sends more bytes than this; None: never.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.away = False
        self.cut_at: int | None = None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the proxy: its port refuses connections."""
        self.away = True
        self._server.shutdown(socket.SHUT_RDWR)  # ends `accept`; while a thread waits there, `close` does not
        self._thread.join()

    def _accept(self) -> None:
        with self._server, contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Copies in both directions until one end closes the connection."""
        sent = 0
        with contextlib.suppress(OSError), client, selectors.DefaultSelector() as ready:
            if self.away:
                return
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                ready.register(client, selectors.EVENT_READ, server)
                ready.register(server, selectors.EVENT_READ, client)
                while True:
                    for key, _ in ready.select():
                        piece = key.fileobj.recv(1 << 14)
                        sent += len(piece) if key.fileobj is client else 0
                        if not piece or self.away or (self.cut_at is not None and sent > self.cut_at):
                            return
                        key.data.sendall(piece)


@contextlib.contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    """Yields a running proxy."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
