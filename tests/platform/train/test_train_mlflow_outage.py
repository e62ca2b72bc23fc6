"""An MLflow server that goes away and returns: no value is lost, and no caller waits for it."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blear.train import trackers
from blear.train.trackers import MLflow


class Server:
    """The part of MLflow's REST interface that a tracker uses, on a port of the loopback interface."""

    def __init__(self) -> None:
        self.metrics: dict[int, float] = {}
        self.params: dict[str, str] = {}
        self.terminated = False
        self._port = 0
        self.start()

    def start(self) -> None:
        """Listens, at the second start on the port of the first one."""
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Refuses connections from now on."""
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        info = {"run_id": "r1", "run_uuid": "r1", "experiment_id": "7", "status": "RUNNING", "run_name": "one"}
        run = {"run": {"info": info, "data": {}}}
        if path.endswith("runs/log-batch"):
            self.metrics |= {int(each["step"]): each["value"] for each in body.get("metrics", [])}
            self.params |= {each["key"]: each["value"] for each in body.get("params", [])}
            return {}
        if path.endswith("runs/update"):
            self.terminated = body["status"] == "FINISHED"
            return {"run_info": info}
        return run if "/runs/" in path else {"experiment": {"experiment_id": "7", "name": "outages"}}

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
                text = json.dumps(server.answer(self.path.split("?")[0], body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    pytest.importorskip("mlflow")
    running = Server()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return running


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_values_of_an_outage_are_sent_when_the_server_returns(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = MLflow(tmp_path, "outages", "one", {"batch_size": 16})
    assert server.params == {"batch_size": "16"}
    tracker.log_metrics(1, {"loss": 1.0})
    wait_until(lambda: server.metrics == {1: 1.0})
    server.stop()
    for step in range(2, 1002):
        tracker.log_metrics(step, {"loss": 1 / step})
    printed = []
    wait_until(lambda: printed.append(capfd.readouterr().err) or "MLflow cannot be reached" in "".join(printed))
    server.start()
    tracker.log_metrics(1002, {"loss": 0.0})
    tracker.close()
    assert server.metrics == {1: 1.0} | {step: 1 / step for step in range(2, 1002)} | {1002: 0.0}
    assert server.terminated
    assert "".join([*printed, capfd.readouterr().err]).count("MLflow") == 1
    server.stop()


def test_a_full_queue_drops_the_oldest_values_and_counts_them(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trackers, "_MAX_PENDING", 10)
    tracker = MLflow(tmp_path, "outages", "one", {})
    server.stop()
    for step in range(1, 31):
        tracker.log_metrics(step, {"loss": 1 / step})
    server.start()
    tracker.close()
    assert server.metrics == {step: 1 / step for step in range(21, 31)}
    assert "MLflow did not receive 20 values of stage one; log.jsonl has them" in capfd.readouterr().err
    server.stop()
