"""`blear runs`, `blear fetch` and requests to a head that is starting, against a small HTTP server; no Ray cluster."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from blear.cli import cli
from blear.cluster.fetch import fetch_run
from blear.cluster.job_server import JobServer
from blear.errors import RunError
from blear.storage import transient
from blear.storage.run_archive import pack_run, unpack_run
from blear.storage.run_lock import run_lock
from blear.storage.run_states import run_states

AGENT = "No available agent to submit job, please try again later."


def write_run(root: Path) -> Path:
    """A run folder with files that are fetched and files that are not."""
    files = {
        "job.yaml": "name: small\n",
        "run.json": json.dumps({"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:10:00+00:00"}),
        "report.html": "<p>report</p>",
        "stages/only/log.jsonl": '{"step": 3, "loss": 1.0}\n{"step": 5, "lo',
        "stages/only/model.safetensors": "weights",
        "stages/only/checkpoints/step-00000005/state.json": "{}",
        ".report.html.7.partial": "<p>",
        "run.lock": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "predictions.parquet").write_bytes(bytes(range(256)) * 1000)
    return root


class Head(BaseHTTPRequestHandler):
    """Ray's job server as far as the client needs it; `failures` requests of each path fail first."""

    failures, agents, jobs, log = 0, 0, [], ""

    def do_GET(self) -> None:
        self._send(200, self._reply(self.path))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Head.agents:
            Head.agents -= 1
            self._send(500, AGENT)
            return
        job = {"type": "SUBMISSION", "submission_id": body["submission_id"], "entrypoint": body["entrypoint"]}
        Head.jobs.append(job | {"status": "SUCCEEDED", "start_time": 1000, "end_time": 61000})
        self._send(200, {"job_id": body["submission_id"], "submission_id": body["submission_id"]})

    def _reply(self, path: str) -> object:
        if path == "/api/version":
            return {"version": "4", "ray_version": "2.60.0", "ray_commit": "x"}
        if path == "/api/jobs/":
            return Head.jobs
        name = path.removeprefix("/api/jobs/")
        return (
            {"logs": Head.log} if name.endswith("/logs") else next(j for j in Head.jobs if j["submission_id"] == name)
        )

    def _send(self, status: int, reply: object) -> None:
        content = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a job server."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # JobServer sets it; monkeypatch restores it
    monkeypatch.setattr(transient, "_EVERY_S", 0.01)
    Head.jobs, Head.agents, Head.log = [], 0, ""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Head)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_submission_waits_for_an_agent(head: str, capsys: pytest.CaptureFixture[str]) -> None:
    Head.agents = 3
    assert JobServer(head).submit("tiny", "blear run tiny.yaml", {}) == ("tiny-1", False)
    assert [job["submission_id"] for job in Head.jobs] == ["tiny-1"]
    lines = [line for line in capsys.readouterr().err.splitlines() if "no agent of the cluster" in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"{head}: ")
    assert lines[0].endswith("for up to 2 min 0 s")


def test_a_submission_whose_reply_was_lost_is_not_repeated(head: str) -> None:
    """The server starts the job, and its first reply is an error."""
    Head.agents = 1
    Head.jobs.append({"type": "SUBMISSION", "submission_id": "x-1", "entrypoint": "e", "status": "RUNNING"})
    assert JobServer(head).start("x-1", "e", {}) == "x-1"
    assert len(Head.jobs) == 1


def test_an_error_that_stays_is_raised_after_the_wait(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transient, "TRANSIENT_S", 0.1)
    Head.agents = 10_000
    with pytest.raises(RunError, match="No available agent"):
        JobServer(head).submit("tiny", "blear run tiny.yaml", {})


def test_a_run_is_fetched_through_the_log_of_a_job(head: str, tmp_path: Path) -> None:
    source, target = write_run(tmp_path / "small"), tmp_path / "here"
    Head.log = "a line of Ray\n" + "\n".join(pack_run(source)) + "\n"
    found = fetch_run("small", address=head, target=target, weights=False)
    assert {str(path.relative_to(target)) for path in found} == {
        "job.yaml", "run.json", "report.html", "predictions.parquet", "stages/only/log.jsonl",
    }  # fmt: skip
    assert all(path.read_bytes() == (source / path.relative_to(target)).read_bytes() for path in found)
    assert Head.jobs[0]["entrypoint"] == "blear fetch small --pack"


def test_a_run_of_this_machine_is_not_mixed_with_a_fetched_one(
    head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`blear run` and `blear fetch` have the same default folder."""
    monkeypatch.chdir(tmp_path)
    here = write_run(tmp_path / "runs" / "small")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    Head.log = "\n".join(pack_run(write_run(tmp_path / "far" / "small")))
    command = ["fetch", "small", "--address", head]
    with pytest.raises(
        RunError,
        match=r"runs/small: a run of this machine is in the folder to write to\n  -> give a folder: --to FOLDER",
    ):
        CliRunner().invoke(cli, command, catch_exceptions=False)
    assert Head.jobs == []
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before
    for _ in range(2):  # a fetched run may be fetched again
        done = CliRunner().invoke(cli, [*command, "--to", "fetched"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert (tmp_path / "fetched" / "report.html").is_file()


def test_weights_are_packed_on_request_and_a_cut_archive_is_refused(tmp_path: Path) -> None:
    lines = list(pack_run(write_run(tmp_path / "small"), weights=True))
    names = [path.name for path in unpack_run("\n".join(lines), tmp_path / "here")]
    assert "model.safetensors" in names
    assert "state.json" not in names
    with pytest.raises(RunError, match="no archive"):
        unpack_run("\n".join(lines[:-1]), tmp_path / "cut")
    with pytest.raises(RunError, match="a part of the run's archive is missing"):
        unpack_run("\n".join([lines[0], *lines[2:]]), tmp_path / "cut")


@pytest.mark.parametrize("name", ["../outside.json", "/outside.json", "stages/../../outside.json"])
def test_no_file_is_unpacked_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("inside.json"))
        archive.addfile(tarfile.TarInfo(name))
    content = buffer.getvalue()
    head, tail = "=== blear run archive small", "=== end of the archive, sha256"
    text = f"{head}\n{base64.b64encode(content).decode()}\n{tail} {hashlib.sha256(content).hexdigest()}"
    with pytest.raises(RunError, match="the archive of this run has the name"):
        unpack_run(text, tmp_path / "here" / "target")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_runs_of_the_storage_have_states(tmp_path: Path) -> None:
    done, stopped, running = (write_run(tmp_path / name) for name in ("a-done", "b-stopped", "c-running"))
    for root in (stopped, running):
        (root / "run.json").write_text(json.dumps({"started": "2026-01-02T00:00:00+00:00"}))
    (tmp_path / "no-run").mkdir()
    with run_lock(running):
        found = list(run_states(tmp_path))
    assert [(run.name, run.state) for run in found] == [
        ("a-done", "done"), ("b-stopped", "stopped"), ("c-running", "running"),
    ]  # fmt: skip
    assert found[0].report == done / "report.html"
    assert found[1].note == "stage only, step 3"
    assert found[2].note.startswith("host ")
    assert found[2].note.endswith("; stage only, step 3")


def test_runs_of_a_cluster(head: str) -> None:
    server = JobServer(head)
    for name in ("tiny-1", "other-1", "tiny-2", "fetch-faces-1"):
        server.start(name, f"blear run {name}.yaml", {})
    server.start("fetch-tiny-7", "blear fetch tiny --pack", {})
    shown = CliRunner().invoke(cli, ["runs", "--address", head])
    assert shown.exit_code == 0, shown.output
    rows = [line.strip("| ").split(" | ") for line in shown.output.splitlines()[2:]]
    assert [row[:3] for row in rows] == [
        ["fetch-faces", "succeeded", "fetch-faces-1"],
        ["other", "succeeded", "other-1"],
        ["tiny", "succeeded", "tiny-2"],
    ]
    assert rows[0][4] == "1 min 0 s"
