"""The reader of videos: numbers, time stamps, colours, shape of a pixel; what is missing, no video, or cut off."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from video_files import Kind, encode

from blear.errors import DataError
from blear.video import open_encoder, read_video
from blear.video.container import open_container
from blear.video.decoding import StreamDecoder
from blear.video.referenced_packets import MissingReferenceError, ReferencedPackets

COLOURS = [(20 * k, 100, 240 - 20 * k) for k in range(10)]


def write(path: Path, colours: list[tuple[int, int, int]], rate: float = 24000 / 1001) -> Path:
    """Flat frames of 64 x 48 pixels, JPEG in an avi."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (64, 48))
    for red, green, blue in colours:
        writer.write(np.full((48, 64, 3), (blue, green, red), np.uint8))
    writer.release()
    return path


def test_no_thread_of_an_encoder_becomes_a_real_time_one() -> None:
    """SVT-AV1 does that where it may, as root: such threads stop the other processes of the machine."""

    def policies() -> set[int]:
        found = set()
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                found.add(os.sched_getscheduler(int(thread.name)))
        return found

    def policies_with_an_encoder(*, ours: bool) -> set[int]:
        encoder = av.CodecContext.create("libsvtav1", "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 64, "yuv420p", Fraction(1, 25)
        (open_encoder if ours else av.CodecContext.open)(encoder)
        for number in range(3):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24").reformat(format="yuv420p")
            picture.pts = number
            encoder.encode(picture)
        encoder.encode(None)  # all threads of the encoder have run
        return policies()

    assert policies_with_an_encoder(ours=True) == policies() == {os.SCHED_OTHER}
    with ThreadPoolExecutor(1) as other:  # a thread that ends afterwards
        theirs = other.submit(policies_with_an_encoder, ours=False).result()
    while policies() != {os.SCHED_OTHER}:  # until that thread has ended
        time.sleep(0.01)
    if os.SCHED_FIFO not in theirs:
        pytest.skip("SVT-AV1 may not change the scheduling here")
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # the calling thread has the right again
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def test_frames_are_rgb_with_number_and_time(tmp_path: Path) -> None:
    frames = list(read_video(write(tmp_path / "flat.avi", COLOURS)))
    assert [frame.number for frame in frames] == list(range(10))
    assert [frame.seconds for frame in frames] == pytest.approx([k * 1001 / 24000 for k in range(10)], abs=1e-3)
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert (frame.image_HWC.shape, frame.image_HWC.dtype) == ((48, 64, 3), np.uint8)
        np.testing.assert_allclose(frame.image_HWC.mean(axis=(0, 1)), colour, atol=6)
        assert frame.pixel_aspect == 1.0


def test_every_third_frame_is_the_same_frame(tmp_path: Path) -> None:
    video = write(tmp_path / "flat.avi", COLOURS)
    whole, some = list(read_video(video)), list(read_video(video, every=3))
    assert [frame.number for frame in some] == [0, 3, 6, 9]
    for frame in some:
        assert frame.seconds == whole[frame.number].seconds
        assert np.array_equal(frame.image_HWC, whole[frame.number].image_HWC)


def test_frames_that_no_needed_frame_depends_on_are_not_decoded(tmp_path: Path) -> None:
    file = encode(Kind("b.mp4", frames=40, options={"bf": "3", "g": "20"}), tmp_path)
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        packets = {packet.pts: (packet.pos, packet.size) for packet in container.demux(stream) if packet.size}
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONREF"
        used = {frame.pts for frame in container.decode(stream)}
    numbers = {pts: number for number, pts in enumerate(sorted(packets))}
    unused = [pts for pts in packets if pts not in used and numbers[pts] % 5]
    assert len(unused) >= 5
    frames = list(read_video(file, 5))
    content = bytearray(file.read_bytes())
    for pts in unused:
        position, size = packets[pts]
        content[position + 5 : position + size] = b"U" * (size - 5)
    file.write_bytes(content)
    notes: list[str] = []
    left_out: list[int] = []
    again = list(read_video(file, 5, notice=notes.append, on_frames=lambda read, skipped: left_out.append(skipped)))
    assert len(unused) <= sum(left_out) <= 32
    assert [frame.number for frame in again] == [0, 5, 10, 15, 20, 25, 30, 35]
    assert all(np.array_equal(a.image_HWC, b.image_HWC) for a, b in zip(frames, again, strict=True))
    assert notes == []
    list(read_video(file, 1, notice=notes.append))
    assert "the file is damaged" in notes[0]


@pytest.mark.parametrize(
    "kind",
    [
        Kind("closed.mp4", options={"bf": "3", "g": "20"}, frames=80),
        Kind("closed.ts", options={"bf": "3", "g": "20"}, frames=80),
        Kind("open.mkv", options={"bf": "3", "g": "20", "x264-params": "open-gop=1"}, frames=80),
        Kind("refresh.mkv", options={"g": "20", "intra-refresh": "1"}, frames=80),
        Kind("open_hevc.mp4", "libx265", options={"x265-params": "keyint=20:bframes=3:log-level=none"}, frames=80),
        Kind("pyramid.mkv", "libx265", options={"x265-params": "bframes=8:ref=5:slices=2:log-level=none"}, frames=80),
        Kind("layers.mp4", "libx265", options={"x265-params": "temporal-layers=3:b-adapt=0:log-level=none"}, frames=80),
        Kind("mpeg2.mpg", "mpeg2video", options={"bf": "2", "g": "12"}, frames=80),
        Kind("mpeg4.mp4", "mpeg4", options={"bf": "2", "g": "12"}, frames=80),
        Kind("vp9.webm", "libvpx-vp9", options={"g": "20", "deadline": "realtime"}, frames=80),
        Kind("jpeg.avi", "mjpeg", "yuvj420p", frames=80),
    ],
    ids=lambda kind: kind.name,
)
def test_needed_frames_are_those_of_the_whole_video(kind: Kind, tmp_path: Path) -> None:
    file = encode(kind, tmp_path)
    whole = list(read_video(file))
    for every in (3, 19, 27):
        decoded: list[int] = []
        some = list(
            read_video(
                file,
                wanted=lambda number, seconds, every=every: number % every == 0,
                on_frames=lambda read, skipped, decoded=decoded: decoded.append(read),
            )
        )
        assert sum(decoded) == len(whole) == 80
        needed = {frame.number: frame for frame in some if frame.number % every == 0}
        assert list(needed) == list(range(0, 80, every))
        for number, frame in needed.items():
            assert frame.seconds == whole[number].seconds
            assert np.array_equal(frame.image_HWC, whole[number].image_HWC)
        assert [frame.number for frame in some] == sorted({frame.number for frame in some})
    assert len(some) < 80 or kind.name == "refresh.mkv"


def test_frames_of_hevc_that_no_needed_frame_refers_to_are_not_decoded(tmp_path: Path) -> None:
    """Every frame is marked as one that others may refer to, as some phones do. The order counts have 8 bits."""
    options = {"preset": "ultrafast", "x265-params": "keyint=-1:bframes=3:b-adapt=0:b-pyramid=0:log-level=none"}
    file = encode(Kind("marked.mp4", "libx265", options=options, frames=300), tmp_path)
    with av.open(str(file)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(file.read_bytes())
    for place in places:
        if content[place + 4] == 0:  # TRAIL_N becomes TRAIL_R
            content[place + 4] = 2
    file.write_bytes(content)
    with av.open(str(file)) as container:
        container.streams.video[0].codec_context.skip_frame = "NONREF"
        assert len(list(container.decode(video=0))) == 300
    whole = list(read_video(file))
    for pick, most in ((range(0, 300, 20), 95), ([0, 299], 80)):
        some = list(read_video(file, wanted=lambda number, seconds, pick=pick: number in pick))
        assert len(some) < most
        assert set(pick) <= {frame.number for frame in some}
        assert all(np.array_equal(frame.image_HWC, whole[frame.number].image_HWC) for frame in some)


def test_packets_of_hevc_that_cannot_be_read_are_all_decoded(tmp_path: Path) -> None:
    file = encode(Kind("cut.mp4", "libx265", options={"x265-params": "bframes=0:log-level=none"}, frames=12), tmp_path)
    with av.open(str(file)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        stream = container.streams.video[0]
        cut = av.Packet(bytes(packets[5])[:7])
        for unread, chosen in ((packets[5], 1), (cut, 8)):
            references = ReferencedPackets(stream)
            assert references.choose(references.read(packets[0])) == []
            for packet in [*packets[1:5], unread, *packets[6:9]]:
                references.hold(packet, references.read(packet))
            picture = references.read(packets[9])
            assert picture is not None
            assert picture.refers <= picture.keeps
            assert len(references.choose(picture)) >= chosen
        lacking = ReferencedPackets(stream)
        picture = [lacking.read(packet) for packet in packets][-1]
        with pytest.raises(MissingReferenceError):
            lacking.choose(picture)


@pytest.mark.parametrize("kind", ["mp4", "ts"])
def test_frames_up_to_the_next_key_frame_are_not_decoded(kind: str, tmp_path: Path) -> None:
    file = encode(Kind(f"key.{kind}", options={"bf": "2", "g": "20", "sc_threshold": "0"}, frames=80), tmp_path)
    shown = [frame.number for frame in read_video(file, wanted=lambda number, seconds: number % 40 == 0)]
    assert shown == [0, 40]
    shown = [frame.number for frame in read_video(file, wanted=lambda number, seconds: abs(seconds - 1.68) < 0.01)]
    assert 42 in shown
    assert set(shown) <= set(range(40, 46))


def test_decoded_frames_are_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    file = encode(Kind("many.mp4", frames=30, turn=(90, True)), tmp_path)
    gc.collect()
    gc.disable()
    try:
        images = [frame.image_HWC for frame in read_video(file)]
        assert len(images) == 30
        assert images[0].shape == (64, 48, 3)
        assert images[0].flags.writeable
        assert sum(isinstance(one, av.VideoFrame) for one in gc.get_objects()) == 0
    finally:
        gc.enable()


def test_threads_of_the_decoder_are_bounded_by_the_bytes_of_their_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    for name, size, threads in (("small.mp4", (64, 48), 16), ("large.mp4", (2560, 1440), 14)):
        file = encode(Kind(name, size=size, frames=1), tmp_path)
        with open_container(file) as container:
            stream = StreamDecoder(file, None, 0, None)._open_stream(container, 0)
            assert stream.codec_context.thread_count == threads
        assert len(list(read_video(file))) == 1


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode())
    assert [frame.pixel_aspect for frame in read_video(tmp_path / "wide.mp4")] == pytest.approx([16 / 15] * 3)


def test_a_real_video(real_data: Path) -> None:
    frames = list(read_video(real_data / "video" / "grid" / "bbaf2n.mpg"))
    assert [frame.seconds for frame in frames] == pytest.approx(np.arange(75) / 25, abs=1e-3)
    assert frames[0].image_HWC.shape == (288, 360, 3)


def test_a_recording_of_a_phone(real_data: Path) -> None:
    """Apple's encoder marks every frame as one that others may refer to."""
    file = real_data / "video" / "misc" / "face_noface.mov"
    whole = {frame.number: frame.image_HWC for frame in read_video(file) if frame.number % 26 == 0}
    decoded = {frame.number: frame for frame in read_video(file, wanted=lambda number, seconds: number % 26 == 0)}
    assert len(decoded) < 45
    assert all(np.array_equal(decoded[number].image_HWC, image) for number, image in whole.items())


def test_unreadable_videos_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        next(read_video(tmp_path / "none.mp4"))
    (tmp_path / "notes.mp4").write_text("not a video\n" * 100)
    with pytest.raises(DataError, match="no frame can be decoded") as caught:
        next(read_video(tmp_path / "notes.mp4"))
    assert caught.value.where == str(tmp_path / "notes.mp4")


def test_a_name_that_ffmpeg_would_take_for_a_protocol_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "12:30:05.avi", COLOURS)
    monkeypatch.chdir(tmp_path)
    assert len(list(read_video(Path("12:30:05.avi")))) == 10
