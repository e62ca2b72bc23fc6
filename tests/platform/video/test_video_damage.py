"""Damaged and odd video files: what can be decoded is read, and the damage is reported."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import Kind, add_stream, decode_with_ffmpeg, encode, scene

from blear.errors import DataError
from blear.video import probe_video, read_video
from blear.video.deinterlace import Deinterlacer
from blear.video.frames import RgbConverter, Thumbnails
from blear.video.samples import sample_frames

LONG = {"frames": 60, "options": {"g": "10", "bf": "0"}}


def damaged_copy(path: Path, count: int = 200) -> Path:
    """Writes random bytes into the middle of a file."""
    content, random = bytearray(path.read_bytes()), np.random.default_rng(0)
    for place in random.integers(len(content) // 5, len(content) * 4 // 5, count):
        content[place] = int(random.integers(256))
    copy = path.with_name(f"damaged{path.suffix}")
    copy.write_bytes(content)
    return copy


def cut_copy(path: Path, share: float) -> Path:
    """Writes the first part of a file."""
    copy = path.with_name(f"cut{path.suffix}")
    copy.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return copy


@pytest.mark.parametrize(
    "kind",
    [
        Kind("whole.mp4", **LONG),
        Kind("whole.ts", **LONG),
        Kind("whole.mkv", **LONG),
        Kind("whole.avi", "mpeg4", frames=60, options={"g": "10"}),
        Kind("whole.mpg", "mpeg2video", frames=60, options={"g": "10"}),
    ],
    ids=lambda kind: kind.name,
)
def test_wrong_bytes_cost_no_more_frames_than_in_ffmpeg(kind: Kind, tmp_path: Path) -> None:
    path, notes = damaged_copy(encode(kind, tmp_path), 20), []
    frames = list(read_video(path, notice=notes.append))
    assert len(frames) == len(decode_with_ffmpeg(path)[1])
    marked = [frame.seconds for frame in frames if frame.damaged]
    assert marked
    assert [frame.seconds for frame in frames] == sorted(frame.seconds for frame in frames)
    (note,) = notes
    assert re.search(rf"the file is damaged: {len(frames)} frames decoded.* \(at \d\.\d\d", note)
    kept = [frame.number for frame in read_video(path, damaged="skip", notice=notes.append)]
    assert kept == [frame.number for frame in frames if not frame.damaged]
    with pytest.raises(DataError, match=rf"damaged at {marked[0]:.2f} s"):
        list(read_video(path, damaged="refuse"))
    again = [frame.seconds for frame in read_video(path, notice=notes.append) if frame.damaged]
    assert again == marked


@pytest.mark.parametrize(
    "kind",
    [
        Kind("hole.mp4", frames=60, options={"bf": "2", "g": "10", "qp": "10"}),
        Kind("hole.mkv", frames=60, options={"bf": "2", "g": "10", "qp": "10"}),
        Kind("hole.ts", frames=60, options={"bf": "2", "g": "10", "qp": "10"}),
        Kind("hevc.mp4", "libx265", frames=60, options={"x265-params": "keyint=10:bframes=2:qp=10:log-level=none"}),
    ],
    ids=lambda kind: kind.name,
)
def test_a_hole_in_frames_that_are_not_needed_is_reported(kind: Kind, tmp_path: Path) -> None:
    """Zeros in the coded data of one frame, as after a lost block of a disk or of a download."""
    path = encode(replace(kind, size=(320, 240)), tmp_path)
    content, packets = bytearray(path.read_bytes()), _packets(path)
    position, size = max(packets[31:39], key=lambda packet: packet[1])
    assert size > 500
    content[position + 192 : position + 376] = bytes(184)  # in MPEG-TS: the content of one of its packets
    path.write_bytes(content)
    reports = []
    for every in (1, 30):
        notes: list[str] = []
        left_out: list[int] = []
        counts = lambda read, skipped, left_out=left_out: left_out.append(skipped)  # noqa: E731
        frames = list(read_video(path, every, notice=notes.append, on_frames=counts))
        reports.append(notes)
        assert {0, 30} <= {frame.number for frame in frames}
        assert sum(left_out) == 0  # the whole video was decoded
    assert "the file is damaged: 60 frames decoded" in reports[1][0]
    if kind.name == "hevc.mp4":  # FFmpeg decodes such frames without a report
        assert reports[1][0].endswith("at least one is not of the form of its codec")
    else:
        assert reports[0] == reports[1]


def count_of_ffmpeg(path: Path) -> int:
    """Number of frames that ffmpeg decodes; 0 where it gives none, which is an error of the program."""
    try:
        return len(decode_with_ffmpeg(path)[1])
    except subprocess.CalledProcessError:
        return 0


def test_reading_of_damaged_hevc_ends(tmp_path: Path) -> None:
    """With several threads, FFmpeg's decoder waits for ever at the third of these files, and no signal ends it."""
    options = {"x265-params": "keyint=10:bframes=2:log-level=none"}
    content = encode(Kind("whole.mp4", "libx265", frames=60, options=options), tmp_path).read_bytes()
    damaged = []
    for seed in range(6):
        wrong, random = bytearray(content), np.random.default_rng(seed)
        for place in random.integers(len(wrong) // 8, len(wrong) * 7 // 8, 20):
            wrong[place] = int(random.integers(256))
        damaged.append(tmp_path / f"{seed}.mp4")
        damaged[-1].write_bytes(wrong)
    code = """if True:
        import sys
        from pathlib import Path
        from blear.errors import DataError
        from blear.video import read_video
        for path in map(Path, sys.argv[1:]):
            for every in (1, 15):
                try:
                    read = sum(1 for _ in read_video(path, every, threads=2, notice=lambda note: None))
                except DataError:
                    read = 0
                print(read, end=" ")
    """
    command = [sys.executable, "-c", code, *map(str, damaged)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    counts = [int(word) for word in ended.stdout.split()]
    assert len(counts) == 2 * len(damaged), ended.stderr
    assert counts[::2] == list(map(count_of_ffmpeg, damaged))


def _packets(path: Path) -> list[tuple[int, int]]:
    """Position and size of each packet with video, in the order of the file."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(container.streams.video[0]) if packet.size]


@pytest.mark.parametrize(
    "kind",
    [
        Kind("whole.mp4", container={"movflags": "frag_keyframe+empty_moov"}, **LONG),
        Kind("whole.mp4", container={"movflags": "faststart"}, **LONG),
        Kind("whole.ts", **LONG),
        Kind("whole.webm", "libvpx", frames=60, options={"g": "10"}),
        Kind("whole.avi", "mjpeg", "yuvj420p", frames=60),
        Kind("whole.dv", "dvvideo", size=(720, 576), frames=4),
    ],
    ids=lambda kind: kind.name + "".join(kind.container.values()),
)
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_files_that_are_cut_off_give_the_frames_of_ffmpeg(kind: Kind, share: float, tmp_path: Path) -> None:
    path = cut_copy(encode(kind, tmp_path), share)
    frames = list(read_video(path, notice=lambda note: None))
    assert len(frames) == len(decode_with_ffmpeg(path)[1]) > 0


def test_a_file_shorter_than_it_states(tmp_path: Path) -> None:
    path, notes = cut_copy(encode(Kind("whole.mp4", container={"movflags": "faststart"}, **LONG), tmp_path), 0.6), []
    frames = list(read_video(path, notice=notes.append))
    (note,) = notes
    assert note.startswith(f"{path}: the file is damaged: {len(frames)} frames decoded, {60 - len(frames)} missing")
    with pytest.raises(DataError, match=rf"{len(frames)} frames decoded"):
        list(read_video(path, damaged="refuse"))


def test_frames_that_a_camera_has_dropped_are_no_damage(tmp_path: Path) -> None:
    """AVI counts them; every fourth frame is an empty chunk. A hole in the data of such a file is damage."""
    path, notes = tmp_path / "camera.avi", []
    with av.open(str(path), "w") as target:
        stream = target.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in (number for number in range(80) if number % 4 != 3):
            frame = av.VideoFrame.from_ndarray(scene(64, 48, number), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    frames = list(read_video(path, notice=notes.append, damaged="refuse"))
    assert ([round(25 * frame.seconds) for frame in frames[:6]], len(frames), notes) == ([0, 1, 2, 4, 5, 6], 60, [])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3] + bytes(len(content) // 3) + content[len(content) * 2 // 3 :])
    list(read_video(path, notice=notes.append))
    assert "the file is damaged" in notes[0]


def test_an_mp4_file_without_its_index_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    whole = encode(Kind("whole.mp4", **LONG), tmp_path)
    for share in (0.5, 0.9, 0.95, 0.98):  # at some of these, the index is there in part
        with pytest.raises(DataError, match=r"(?s)its index \(the box `moov`\) is missing.*rebuild the index"):
            list(read_video(cut_copy(whole, share)))


def test_a_truncated_real_video_gives_its_frames(real_data: Path) -> None:
    notes: list[str] = []
    frames = list(read_video(real_data / "video" / "mead" / "M030_sad_256.mp4", notice=notes.append))
    assert len(frames) == 110
    assert "110 frames decoded, 47 missing" in notes[0]


def test_of_several_streams_the_largest_is_read(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        encoders = [add_stream(container, Kind("", size=size)) for size in ((32, 32), (64, 48))]
        for encode_frames in encoders:
            encode_frames()
    notes: list[str] = []
    assert next(read_video(tmp_path / "two.mkv", notice=notes.append)).image_HWC.shape == (48, 64, 3)
    assert notes == [f"{tmp_path / 'two.mkv'}: 2 video streams; stream 1 (64 x 48) is read"]
    assert next(read_video(tmp_path / "two.mkv", stream=0)).image_HWC.shape == (32, 32, 3)
    for number in (2, -1):
        with pytest.raises(DataError, match=f"there is no video stream {number}"):
            next(read_video(tmp_path / "two.mkv", stream=number))


@pytest.mark.parametrize("name", ["song.mp3", "song.mp4"])
def test_a_cover_picture_is_read_only_where_there_is_no_video(name: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        if name.endswith("mp4"):
            encode_frames = add_stream(container, Kind("", frames=5))
        else:
            audio = container.add_stream("libmp3lame", rate=44100)
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 100, 80, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(scene(100, 80, 0), "rgb24")
        picture.pts, picture.time_base = 0, Fraction(1)
        container.mux(cover.encode(picture))
        if name.endswith("mp4"):
            encode_frames()
        else:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "flt", "mono")
            silence.rate = 44100
            container.mux(audio.encode(silence))
            container.mux(audio.encode())
    frames = list(read_video(tmp_path / name))
    assert len(frames) == (1 if name.endswith("mp3") else 5)
    assert frames[0].image_HWC.shape == ((80, 100, 3) if name.endswith("mp3") else (48, 64, 3))


def test_frames_that_change_their_size_get_the_size_of_the_first(tmp_path: Path) -> None:
    parts = [encode(Kind(f"{k}.ts", size=size), tmp_path) for k, size in enumerate([(64, 48), (96, 80)])]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    notes: list[str] = []
    frames = list(read_video(tmp_path / "both.ts", notice=notes.append))
    assert {frame.image_HWC.shape for frame in frames} == {(48, 64, 3)}
    assert any("all are resized to 64 x 48 pixels" in note for note in notes)
    seconds = [frame.seconds for frame in frames]
    assert len(seconds) == 16
    assert np.diff(seconds) == pytest.approx([0.04] * 15, abs=0.005)  # the second part's clock starts anew


def test_interlaced_frames_between_progressive_ones(tmp_path: Path) -> None:
    interlaced = Kind("1.avi", "mpeg4", field="tff", options={"flags": "+ildct+ilme"})
    kinds = [Kind("0.avi", "mpeg4"), interlaced, Kind("2.avi", "mpeg4")]
    frames = [frame for kind in kinds for frame in decoded(encode(kind, tmp_path))]
    before = [frame.to_ndarray(format="rgb24") for frame in frames]
    after = list(Deinterlacer()((frame, number) for number, frame in enumerate(frames)))
    assert [number for _, number in after] == list(range(24))
    same = [np.array_equal(frame.to_ndarray(format="rgb24"), before[number]) for frame, number in after]
    assert same == [True] * 8 + [False] * 8 + [True] * 8


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_deinterlacing_can_be_switched_off(tmp_path: Path) -> None:
    path = encode(Kind("i.avi", "mpeg4", field="tff", options={"flags": "+ildct+ilme", "b": "2M"}), tmp_path)
    combed, smooth = (
        next(read_video(path, deinterlace=on, notice=lambda note: None)).image_HWC.astype(int) for on in (False, True)
    )
    assert np.abs(np.diff(combed[16:28], axis=0)).mean() > 1.5 * np.abs(np.diff(smooth[16:28], axis=0)).mean()


def test_only_images_that_are_looked_at_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from blear.video.frames import RgbConverter

    converted: list[int] = []
    convert = RgbConverter.__call__
    monkeypatch.setattr(RgbConverter, "__call__", lambda self, frame: converted.append(1) or convert(self, frame))
    frames = list(read_video(encode(Kind("h264.mp4"), tmp_path)))
    assert not converted
    assert frames[3].image_HWC is frames[3].image_HWC
    assert len(converted) == 1


def test_metadata_in_another_encoding(tmp_path: Path) -> None:
    path = encode(Kind("raw.avi", "rawvideo", "bgr24"), tmp_path)
    with av.open(str(path), "w", options={}) as container:
        container.metadata["title"] = "TITLE"
        add_stream(container, Kind("raw.avi", "rawvideo", "bgr24"))()
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"T\xe9\xff\xe8E"))
    assert len(list(read_video(path))) == 8


def test_no_line_of_a_library_reaches_the_screen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = damaged_copy(encode(Kind("whole.ts", **LONG), tmp_path))
    list(read_video(path, notice=lambda note: None))
    assert capfd.readouterr() == ("", "")


def test_frames_without_time_stamps_get_those_of_the_frame_rate(tmp_path: Path) -> None:
    from blear.video.times import FrameTimes

    times = FrameTimes(None, Fraction(1, 25), 10.0)
    assert [times(None, None) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    assert times.computed == 3
    assert times(10, 10) == pytest.approx(0.2)  # never less than the frame before
    assert times(14, 14) == pytest.approx(0.2)
    assert times(20, 20) == pytest.approx(0.4)


def test_a_stream_that_appears_late_in_mpegts_does_not_end_the_reading(tmp_path: Path) -> None:
    """The last key frame (24) has the wrong PID 0x102 in place of 0x100: FFmpeg adds a stream."""
    path = encode(Kind("a.ts", "mpeg2video", frames=30, options={"g": "6"}), tmp_path)
    content = bytearray(path.read_bytes())
    starts = [at for at in range(0, len(content), 188) if content[at + 1 : at + 3] == b"\x41\0"]
    content[starts[24] + 2] = 2
    path.write_bytes(content)
    with av.open(str(path)) as container, pytest.raises(IndexError):  # of PyAV, at the end of the file
        list(container.decode(video=0))
    assert len(list(read_video(path, notice=lambda note: None))) == 29
    assert len(list(sample_frames(path, 8))) == 4


def test_frames_that_are_too_small_for_the_filter_stay_interlaced(tmp_path: Path) -> None:
    path = encode(Kind("tiny.mkv", "ffv1", size=(2, 2), field="tff"), tmp_path)
    frames = list(read_video(path))
    assert [frame.image_HWC.shape for frame in frames] == [(2, 2, 3)] * len(frames)
    assert frames


def test_a_frame_that_cannot_be_converted_is_an_error_of_its_video() -> None:
    """A damaged header may state colours that FFmpeg does not know."""
    frame = av.VideoFrame(64, 48, "yuv420p")
    frame.colorspace = 250
    with pytest.raises(DataError, match="a frame cannot be converted to RGB"):
        RgbConverter(64, 48, 1.0)(frame)
    with pytest.raises(DataError, match="a frame cannot be converted to RGB"):
        Thumbnails()(frame)


def test_an_animated_webp_of_a_huge_size_is_an_error(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (0, 200)]
    frames[0].save(path := tmp_path / "huge.webp", save_all=True, append_images=frames[1:])
    content = bytearray(path.read_bytes())
    content[24:30] = 2 * (13_999).to_bytes(3, "little")  # the canvas in the chunk VP8X, less 1
    path.write_bytes(content)
    for read in (lambda: next(read_video(path)), lambda: probe_video(path)):
        with pytest.raises(DataError, match=r"Image size \(196000000 pixels\) exceeds limit"):
            read()
