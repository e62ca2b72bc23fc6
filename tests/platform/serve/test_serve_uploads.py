"""Uploads are decoded in processes with limits."""

import asyncio
import io
import os
import random
import signal
import struct
import threading
import time
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request

import blear
from blear.imaging import read_picture
from blear.plugin.discovery import load_plugins
from blear.serve.decoder_pool import DecoderPool
from blear.serve.faces import ServedModel
from blear.serve.file_types import file_type
from blear.serve.held_bytes import HeldBytes
from blear.serve.limits import BusyError, TooLargeError, TooSlowError, UploadError, UploadLimits, WrongTypeError
from blear.serve.service import Question, Service
from blear.serve.web import _body
from blear.video import read_video

LIMITS = UploadLimits(pixels=1_000_000, cpu_s=4, wall_s=20.0, memory=300_000_000)


def picture(kind, **options):
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


def video(path, codec, frames=40, size=(64, 48), rate=10):
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for n in range(frames):
            image = np.full((size[1], size[0], 3), 6 * n % 256, np.uint8)
            image[:10] = rng.integers(0, 256, 3)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path.read_bytes()


def png_header(width, height):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return start + struct.pack(">I", 1000) + b"IDAT" + bytes(1004)


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(LIMITS, 1, 1) as pool:
        yield pool


def decode(pool, data):
    return asyncio.run(pool.decode(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_pictures_equal_those_of_read_picture(pool, kind):
    data = picture(kind)
    upload = decode(pool, data)
    assert (upload.kind, upload.notes, len(upload.windows)) == ("picture", [], 1)
    np.testing.assert_array_equal(upload.windows[0].image_HWC, read_picture(data))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.ts", "mpeg2video")]
)
def test_videos_equal_those_of_read_video_at_the_rate_of_the_limits(pool, tmp_path, name, codec):
    data = video(tmp_path / name, codec, rate=25)
    upload = decode(pool, data)
    frames = {frame.number: frame for frame in read_video(tmp_path / name)}
    assert upload.kind == "video"
    seconds = [window.seconds for window in upload.windows]
    assert [int(one / 0.25 + 1e-6) for one in seconds] == list(range(len(seconds)))
    assert len(seconds) == int(frames[max(frames)].seconds * 4 + 1e-6) + 1
    for window in upload.windows:
        np.testing.assert_array_equal(window.image_HWC, frames[window.frame].image_HWC)
        assert window.seconds == pytest.approx(frames[window.frame].seconds)


def test_windows_of_a_model_of_clips_hold_the_frames_before(tmp_path):
    data = video(tmp_path / "a.mp4", "mpeg4", frames=10)
    with DecoderPool(LIMITS, 3, 1) as pool:
        window = decode(pool, data).windows[1]
        alone = decode(pool, picture("PNG")).windows[0]
    frames = [frame.image_HWC for frame in read_video(tmp_path / "a.mp4")]
    assert window.frame == 3
    np.testing.assert_array_equal(np.stack(window.images), np.stack(frames[1:4]))
    assert len(alone.images) == 3


def test_long_and_large_videos_are_cut_and_reduced(tmp_path):
    data = video(tmp_path / "a.mp4", "mpeg4", size=(640, 320))
    with DecoderPool(UploadLimits(frames=5, side=320), 1, 1) as pool:
        upload = decode(pool, data)
    assert [window.image_HWC.shape for window in upload.windows] == [(160, 320, 3)] * 5
    assert upload.notes == ["the first 5 frames are predicted, 4 in one second"]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"hello", WrongTypeError, "neither a picture"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n", WrongTypeError, "neither a picture"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", WrongTypeError, "neither a picture"),
        (b"%PDF-1.7", WrongTypeError, "neither a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", WrongTypeError, "neither a picture"),
        (png_header(60_000, 60_000), TooLargeError, "60000 x 60000 pixels; at most 1,000,000"),
        (png_header(1001, 1000), TooLargeError, "1001 x 1000 pixels"),
        (picture("PNG")[:-300], UploadError, "the picture cannot be read"),
        (picture("JPEG")[:40], UploadError, "the picture cannot be read"),
        (b"\0\0\0\x18ftypmp42" + bytes(200), UploadError, "the video"),
        (b"\x1aE\xdf\xa3" + bytes(200), UploadError, "the video"),
    ],
    ids=["text", "playlist", "concat", "pdf", "svg", "bomb", "large", "cut-png", "cut-jpeg", "mp4", "webm"],
)
def test_refused_uploads_have_one_clear_message(pool, data, error, message):
    with pytest.raises(error, match=message) as caught:
        decode(pool, data)
    assert type(caught.value) is error
    assert "/proc" not in str(caught.value)
    assert decode(pool, picture("PNG")).kind == "picture"  # the next upload is not affected


def test_a_decoder_that_exceeds_a_limit_is_replaced():
    large = io.BytesIO()
    Image.new("RGB", (5000, 4000)).save(large, "PNG")
    with DecoderPool(UploadLimits(memory=20_000_000), 1, 1) as pool:
        with pytest.raises(UploadError, match=r"needs more than 20 MB"):
            decode(pool, large.getvalue())
        assert decode(pool, picture("PNG")).kind == "picture"
        first = pool._decoders[0]._process
        os.kill(first.pid, signal.SIGXCPU)
        first.wait(20)
        assert decode(pool, picture("PNG")).kind == "picture"
        second = pool._decoders[0]._process
    with DecoderPool(UploadLimits(wall_s=0.01), 1, 1) as pool:
        for _ in range(2):  # the start of a decoder alone takes longer
            with pytest.raises(UploadError, match=r"decoding takes more than 0.01 s"):
                decode(pool, picture("PNG"))
    assert (first.returncode, second.returncode) == (-signal.SIGXCPU, -signal.SIGKILL)


def test_an_upload_that_takes_too_much_cpu_time_is_refused(tmp_path):
    data = video(tmp_path / "a.mp4", "mpeg4", frames=1800, size=(640, 480), rate=100)
    with DecoderPool(UploadLimits(cpu_s=0, rate=100.0, frames=1800, side=160), 1, 1) as pool:
        with pytest.raises(UploadError, match="decoding takes more than 0 s of CPU time"):
            decode(pool, data)
        assert decode(pool, picture("PNG")).kind == "picture"


def test_too_many_uploads_at_one_time_are_refused():
    async def both(pool):
        return await asyncio.gather(*[pool.decode(picture("PNG")) for _ in range(3)], return_exceptions=True)

    with DecoderPool(UploadLimits(waiting=2), 1, 1) as pool:
        results = asyncio.run(both(pool))
    assert [type(one).__name__ for one in results] == ["Upload", "Upload", "BusyError"]
    assert BusyError.status == 503


def test_the_server_holds_a_limited_number_of_bytes():
    held = HeldBytes(3600)
    with DecoderPool(UploadLimits(), 4, 1, held) as pool, held.claim() as first:
        asyncio.run(pool.decode(picture("PNG"), first))  # 40 x 30 pixels, of which four frames share the bytes
        with held.claim() as second:
            with pytest.raises(BusyError, match="too many uploads at one time"):
                asyncio.run(pool.decode(picture("PNG"), second))
            with pytest.raises(BusyError):
                second.add(1)
        first.release()
        with held.claim() as third:
            third.add(3599)
            assert asyncio.run(pool.decode(picture("PNG"), third)).bytes == 3600
        held.require_room()


@pytest.mark.parametrize(
    ("parts", "pause", "error", "message"),
    [
        ([b"a" * 10, b"b" * 10], 0.0, None, ""),
        ([b"a" * 10, b"b" * 10], 0.2, TooSlowError, r"the file was not sent within 0.1 s"),
        ([b"a" * 30, b"b" * 30], 0.0, TooLargeError, "more than 4e-05 MB"),
        ([b"a"] * 31, 0.0, BusyError, "too many uploads"),
        ([b""], 0.0, UploadError, "the request has no file"),
    ],
)
def test_bodies_are_limited_in_size_and_time(parts, pause, error, message):
    waiting = list(parts)

    async def receive():
        await asyncio.sleep(pause)
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def read():
        with HeldBytes(30).claim() as claim:
            scope = {"type": "http", "method": "POST", "headers": []}
            return await _body(Request(scope, receive), UploadLimits(bytes=40, receive_s=0.1), claim)

    if error is None:
        assert asyncio.run(read()) == b"".join(parts)
        return
    with pytest.raises(error, match=message):
        asyncio.run(read())


def test_damaged_uploads_never_end_the_service(pool, tmp_path):
    """Some of each kind; `make bench ONLY=serve` sends 2,000. Nothing is written; each gets an answer or an error."""
    rng = random.Random(7)
    whole = [
        picture("JPEG"),
        picture("PNG"),
        picture("WEBP"),
        video(tmp_path / "a.mp4", "mpeg4"),
        video(tmp_path / "a.webm", "libvpx"),
    ]
    before = set(Path("/tmp").iterdir()) | set(Path.cwd().iterdir())
    start, outcomes = time.monotonic(), []
    for n in range(60):
        data = bytearray(whole[n % len(whole)])
        for _ in range(rng.randint(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            outcomes.append(decode(pool, bytes(data[: rng.randint(20, len(data))])).kind)
        except UploadError as error:
            outcomes.append(str(error).split("\n")[0])
    assert time.monotonic() - start < 200
    assert len(set(outcomes)) > 2
    assert set(Path.cwd().iterdir()) <= before
    np.testing.assert_array_equal(decode(pool, whole[1]).windows[0].image_HWC, read_picture(whole[1]))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (picture("JPEG"), "picture"),
        (picture("WEBP"), "picture"),
        (b"GIF89a", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"\0\0\0\x20ftypisom", "video"),
        (b"G" + bytes(187) + b"G", "video"),
        (b"G" + bytes(300), None),
        (b"BM not a bitmap at all", None),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"", None),
    ],
)
def test_types_by_the_first_bytes(data, kind):
    assert file_type(data) == kind


class Watched(list):
    """Models, and the threads that use them."""

    def __init__(self, models):
        super().__init__(models)
        self.threads = set()

    def __iter__(self):
        self.threads.add(threading.current_thread().name.partition("_")[0])
        return super().__iter__()


def test_frames_that_are_faces_are_cut_outside_of_the_thread_of_the_requests():
    model = blear.load("robust-faces")
    assert model.framing is not None
    watched = Watched([ServedModel("robust-faces", model, model.framing, [], load_plugins())])
    service = Service(watched, [], lambda windows: [[] for _ in windows], LIMITS, processes=1)
    try:
        watched.threads.clear()  # of the construction
        answer = asyncio.run(service.answer(picture("PNG"), Question(crops=True)))
    finally:
        service.close()
    assert len(answer.frames[0].faces) == 1
    assert "detector" in watched.threads


def test_frames_that_are_decoded_after_their_request_are_not_held() -> None:
    held = HeldBytes(100)
    with held.claim() as claim:
        claim.add(60)
    claim.change(1000)  # the request was cancelled while its file was decoded
    with held.claim() as other:
        other.add(100)
        with pytest.raises(BusyError):
            held.require_room()
