"""An HTTP server of a folder on loopback with injected faults; shared by the tests of remote shards."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from blear.storage.remote import RetryPolicy

QUICK = RetryPolicy(tries=4, initial_wait_s=0.01, max_wait_s=0.05, timeout_s=1.0)
PIECE = 16_384


@dataclass
class Faults:
    """Faults of paths that end in `suffix`, in the first `times` requests of each path."""

    suffix: str = ".tar"
    times: int = 0
    status: int = 0  # of the response; 0: no error
    cut_at: int = -1  # close the connection after so many bytes of the body
    stall_at: int = -1  # send so many bytes of the body, then wait
    wrong: bool = False  # flip a bit
    longer: int = 0  # send so many bytes more than the file has
    slow_s: float = 0.0  # wait so long after each PIECE bytes
    gate: threading.Semaphore | None = None  # acquired before each kilobyte
    ranges: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)  # (path, Range header)
    released: threading.Event = field(default_factory=threading.Event)

    def count(self, suffix: str = ".tar") -> int:
        """Number of requests for paths with this suffix so far."""
        return sum(path.endswith(suffix) for path, _ in self.requests)


@contextlib.contextmanager
def serve(folder: Path, faults: Faults | None = None) -> Iterator[tuple[str, Faults]]:
    """Runs a server of `folder`; yields (URL, faults), which may be changed while it runs."""
    state = faults or Faults()
    failed: Counter[str] = Counter()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range", "")
            state.requests.append((self.path, wanted))
            file = Path(self.translate_path(self.path))
            if not file.is_file():
                self.send_error(404)
                return
            data, first = file.read_bytes(), 0
            faulty = self.path.endswith(state.suffix) and failed[self.path] < state.times
            failed[self.path] += faulty
            if faulty and state.status:
                self.send_error(state.status)
                return
            if faulty and state.wrong:
                data = bytes([*data[:-1], data[-1] ^ 1])
            if faulty:
                data += bytes(state.longer)
            if wanted and state.ranges:
                first = int(wanted.removeprefix("bytes=").split("-")[0])
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(data) - first))
            self.end_headers()
            self.body(data[first:], faulty)

        def body(self, data, faulty):
            if not faulty:
                self.wfile.write(data)
            elif state.cut_at >= 0:
                self.wfile.write(data[: state.cut_at])
            elif state.stall_at >= 0:
                self.wfile.write(data[: state.stall_at])
                self.wfile.flush()
                state.released.wait(60)
            elif state.gate is not None:
                for start in range(0, len(data), 1024):
                    state.gate.acquire(timeout=60)
                    self.wfile.write(data[start : start + 1024])
            else:
                for start in range(0, len(data), PIECE):
                    self.wfile.write(data[start : start + PIECE])
                    time.sleep(state.slow_s)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):  # clients close connections on purpose
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", state
        finally:
            state.released.set()
            server.shutdown()
            thread.join()
