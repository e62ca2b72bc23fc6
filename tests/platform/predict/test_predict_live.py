"""Cameras, addresses, pipes; the newest frame wins."""

from __future__ import annotations

import http.server
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from blear.cli import cli
from blear.errors import DataError
from blear.predict.inputs import find_inputs
from blear.predict.live import LiveSource
from blear.predict.newest import Newest
from blear.video.stream import VideoStream, is_stream

LEVELS = [40, 60, 80, 100, 120, 140, 160, 180]


def encoded(form: str, codec: str, levels: list[int] = LEVELS) -> bytes:
    """Flat frames at 10 frames per second."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as target:
        stream = target.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for level in levels:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "rgb24")))
        target.mux(stream.encode())
    return file.getvalue()


class Piped:
    """Standard input is a pipe with some bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __enter__(self) -> None:
        read, write = os.pipe()
        self.before = os.dup(0)
        os.dup2(read, 0)
        os.close(read)
        self.writer = threading.Thread(target=self.write, args=(write,))
        self.writer.start()

    def write(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "wb") as pipe:
            pipe.write(self.content)

    def __exit__(self, *_: object) -> None:
        self.writer.join()
        os.dup2(self.before, 0)
        os.close(self.before)


@pytest.fixture
def serve() -> Iterator[object]:
    """serve(bytes, headers) -> address of a server that sends them without a length, as a camera does."""
    servers = []

    def start(content: bytes, name: str = "live", length: bool = False) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                if length:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/{name}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("form", "codec"), [("mpegts", "mpeg2video"), ("matroska", "libx264"), ("mpjpeg", "mjpeg")])
def test_an_address_gives_all_frames_in_order(serve, form: str, codec: str) -> None:
    stream = VideoStream(serve(encoded(form, codec)))
    frames = list(stream.frames())
    assert [round(float(frame.image_HWC.mean()), -1) for frame in frames] == pytest.approx(LEVELS, abs=10)
    seconds = [frame.seconds for frame in frames]
    if form == "mpjpeg":  # has no time stamps: the times of arrival
        assert seconds == sorted(seconds)
        assert seconds[-1] < 10
    else:
        assert seconds == pytest.approx([k / 10 for k in range(8)], abs=0.05)
    assert [frame.number for frame in frames] == list(range(8))
    stream.close()


def test_a_file_at_an_address_has_an_end_and_keeps_all_frames(serve) -> None:
    with LiveSource(serve(encoded("mp4", "libx264"), "face.mp4", length=True)) as source:
        assert source.drop is False
        assert [w.frame for w in source.windows(lambda frames: frames, lambda frame: True, 1)] == list(range(8))


@pytest.mark.parametrize(("form", "codec"), [("mpegts", "mpeg2video"), ("matroska", "libx264"), ("h264", "libx264")])
def test_a_pipe_gives_all_frames(form: str, codec: str) -> None:
    with Piped(encoded(form, codec)), LiveSource("-", drop=False) as source:
        clips = [window.images for window in source.windows(lambda frames: frames, lambda frame: True, 2)]
    assert [round(float(images[-1].mean()), -1) for images in clips] == pytest.approx(LEVELS, abs=10)
    assert "latency_ms" not in source.facts()


def test_the_newest_item_wins() -> None:
    ready = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        yield 0
        ready[0].wait()
        yield from (1, 2, 3)
        ready[1].set()
        ready[2].wait()
        yield 4

    newest = Newest(items())
    seen = iter(newest)
    assert next(seen) == 0
    ready[0].set()
    ready[1].wait()
    assert next(seen) == 3
    ready[2].set()
    assert list(seen) == [4]
    assert newest.dropped == 2
    assert newest.stop()


def test_errors_of_the_thread_are_raised_where_the_items_are_read() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise DataError("the camera was unplugged")

    seen = iter(Newest(items()))
    with pytest.raises(DataError, match="unplugged"):
        list(seen)


def test_a_live_source_drops_frames_and_states_its_latency(serve) -> None:
    with LiveSource(serve(encoded("mpegts", "mpeg2video"))) as source:
        assert source.drop
        seen = []
        for window in source.windows(lambda frames: frames, lambda frame: True, 1):
            seen.append(window.frame)
            time.sleep(0.05)
        facts = source.facts()
    assert seen[-1] == 7
    assert len(seen) + facts["dropped"] == 8
    assert 50 <= facts["latency_ms"]["median"] <= facts["latency_ms"]["p95"]


def test_what_cannot_be_opened_is_one_message() -> None:
    with pytest.raises(DataError, match=r"(?s)camera:7: cannot be opened: .*check that the camera is connected"):
        VideoStream("camera:7")
    with pytest.raises(DataError, match="'front' is no number of a camera"):
        VideoStream("camera:front")
    with pytest.raises(DataError, match=r"(?s)rtsp://127.0.0.1:9/x: cannot be opened: .*check the address"):
        VideoStream("rtsp://127.0.0.1:9/x")
    with Piped(b"no video at all"), pytest.raises(DataError, match=r"(?s)-: cannot be opened.*MPEG-TS or Matroska"):
        VideoStream("-")


def test_streams_are_told_from_files() -> None:
    streams = ["-", "camera:0", "rtsp://user:secret@host/door", "http://host/clip.mp4", "udp://@:1234"]
    assert all(map(is_stream, streams))
    assert not any(map(is_stream, ["clip.mp4", "12:30.mp4", "c:/videos/a.mp4", "./-", "ftp.mp4"]))
    (one,) = find_inputs([streams[2]])
    assert one.name == "rtsp://host/door"  # no password in any output
    assert one.address == streams[2]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:pw@10.0.0.5/s", "rtsp://10.0.0.5/s"),
        ("rtsp://admin:P@ss@10.0.0.5/s", "rtsp://10.0.0.5/s"),
        ("rtsp://admin:a/b@host/s", "rtsp://***@host/s"),
        ("rtsp://admin:12/b@host/s", "rtsp://***@host/s"),
        ("rtsp://admin:a?b@host/s", "rtsp://***@host/s"),
        ("rtsp://admin:a@b/c@host/s", "rtsp://***@host/s"),
        ("http://cam/video?user=admin&password=secret&fps=5", "http://cam/video?user=***&password=***&fps=5"),
        (
            "https://host/live.m3u8?Token=a/b&X-Amz-Signature=c#t",
            "https://host/live.m3u8?Token=***&X-Amz-Signature=***#t",
        ),
        (
            "rtsp://h:554/user=a_password=b_channel=1_stream=0.sdp",
            "rtsp://h:554/user=***_password=***_channel=1_stream=0.sdp",
        ),
        ("srt://host:9000?passphrase=abc&mode=caller", "srt://host:9000?passphrase=***&mode=caller"),
        ("http://host:8080/a/clip@2x.mp4", "http://***@2x.mp4"),  # may be a password
        ("http://host/a/clip@2x.mp4?mail=a@b", "http://host/a/clip@2x.mp4?mail=a@b"),
        ("camera:0", "camera:0"),
    ],
)
def test_addresses_are_shown_without_secrets(address: str, shown: str) -> None:
    (one,) = find_inputs([address])
    assert one.name == shown
    assert one.address == address
    assert one.path.name == Path(shown).name


def test_streams_that_differ_in_their_secrets_have_different_names() -> None:
    names = [one.name for one in find_inputs(["http://h/v?token=1", "http://h/v?token=2", "http://h/v?token=1"])]
    assert names == ["http://h/v?token=***", "http://h/v?token=*** (2)"]


def test_messages_on_streams_have_no_secrets() -> None:
    with pytest.raises(DataError) as refused:
        VideoStream("rtsp://me:secret@127.0.0.1:9/x?token=secret")
    assert refused.value.where == "rtsp://127.0.0.1:9/x?token=***"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("drop", ["--drop", "--no-drop"])
def test_predict_reads_a_pipe(run: Path, tmp_path: Path, drop: str) -> None:
    out = tmp_path / "out.jsonl"
    command = ["predict", str(run / "stages" / "values"), "-", "--crops", "--out", str(out), drop]
    with Piped(encoded("mpegts", "mpeg2video")):
        result = CliRunner().invoke(cli, [*command, "--seconds", "0.55", "--device", "cpu"], catch_exceptions=False)
    assert result.exit_code == 0
    rows, facts = out.read_text().splitlines(), json.loads((tmp_path / "out.jsonl.meta.json").read_text())
    assert facts["inputs"]["-"]["frames"] == 6
    assert len(rows) + facts["inputs"]["-"].get("dropped", 0) == 6
    assert ("latency" in result.output) == (drop == "--drop")
