"""Videos of many kinds: frames and times are those of the program ffmpeg."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from video_files import Kind, decode_with_ffmpeg, encode

from blear.video import read_video

INTERLACED = {"flags": "+ildct+ilme"}
PAL, NTSC = (720, 576), (720, 480)
KINDS = [
    Kind("h264.mp4"),
    Kind("h264_b_frames.mkv", options={"bf": "2", "g": "6"}),
    Kind("h264_ten_bit.mp4", pixels="yuv420p10le"),
    Kind("h264_444.mp4", pixels="yuv444p"),
    Kind("h264_422.mov", pixels="yuv422p"),
    Kind("h264_full_range.mp4", options={"color_range": "pc"}),
    Kind("h264_bt709.mp4", options={"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}),
    Kind("h264_transport.ts"),
    Kind("h264_fragments.mp4", container={"movflags": "frag_keyframe+empty_moov"}),
    Kind("h264_interlaced.mp4", field="tff", options=INTERLACED),
    Kind("h264_interlaced_bottom.mkv", field="bff", options=INTERLACED),
    Kind("h264_one_interlaced_frame.mp4", field="tff", options=INTERLACED, frames=1),
    Kind("h264.flv"),
    Kind("raw.h264", options={"bf": "0"}),
    Kind("raw_b_frames.h264", options={"bf": "2"}),
    Kind("raw.hevc", "libx265", options={"x265-params": "log-level=none"}),
    Kind("hevc.mp4", "libx265", options={"x265-params": "log-level=none"}),
    Kind("hevc_ten_bit.mkv", "libx265", "yuv420p10le", options={"x265-params": "log-level=none"}),
    Kind("av1.mp4", "libsvtav1", options={"preset": "12"}),
    Kind("av1_ten_bit.mkv", "libsvtav1", "yuv420p10le", options={"preset": "12"}),
    Kind("vp8.webm", "libvpx"),
    Kind("vp9.webm", "libvpx-vp9"),
    Kind("vp9_alpha.webm", "libvpx-vp9", "yuva420p"),
    Kind("browser.webm", "libvpx", container={"live": "1"}),
    Kind("browser.mkv", container={"live": "1"}),
    Kind("mpeg4.avi", "mpeg4"),
    Kind("mpeg4_b_frames.avi", "mpeg4", options={"bf": "2"}),
    Kind("mpeg4_interlaced.avi", "mpeg4", field="tff", options=INTERLACED),
    Kind("mpeg1.mpg", "mpeg1video"),
    Kind("mpeg2.vob", "mpeg2video", options={"bf": "2"}),
    Kind("mpeg2_interlaced.ts", "mpeg2video", field="tff", options=INTERLACED),
    Kind("mpeg2_interlaced.mpg", "mpeg2video", field="bff", options=INTERLACED),
    Kind("mpeg2.mxf", "mpeg2video"),
    Kind("pal.dv", "dvvideo", size=PAL, field="bff", frames=3),
    Kind("ntsc.avi", "dvvideo", "yuv411p", NTSC, Fraction(30000, 1001), field="bff", frames=3),
    Kind("prores.mov", "prores_ks", "yuv422p10le"),
    Kind("prores_interlaced.mov", "prores_ks", "yuv422p10le", field="tff", options=INTERLACED),
    Kind("dnxhd.mov", "dnxhd", "yuv422p", (1280, 720), frames=2, options={"b": "60M"}),
    Kind("mjpeg.avi", "mjpeg", "yuvj422p"),
    Kind("wmv2.wmv", "wmv2"),
    Kind("msmpeg4.avi", "msmpeg4"),
    Kind("flv1.flv", "flv"),
    Kind("h263.3gp", "h263", size=(176, 144)),
    Kind("rv20.rm", "rv20"),
    Kind("ffv1.mkv", "ffv1"),
    Kind("ffv1_odd.mkv", "ffv1", size=(63, 47)),
    Kind("ffv1_grey.nut", "ffv1", "gray"),
    Kind("ffv1_sixteen_bit.mkv", "ffv1", "yuv420p16le"),
    Kind("huffyuv.avi", "huffyuv", "rgb24"),
    Kind("qtrle.mov", "qtrle", "argb"),
    Kind("png.mov", "png", "rgba"),
    Kind("v210.mov", "v210", "yuv422p10le"),
    Kind("raw.avi", "rawvideo", "bgr24"),
    Kind("raw.y4m", "wrapped_avframe", form="yuv4mpegpipe"),
    Kind("animated.gif", "gif", "rgb8"),
    Kind("animated.apng", "apng", "rgba"),
    Kind("animated.webp", "libwebp_anim", "yuv420p"),
    Kind("still.webp", "libwebp", frames=1),
    Kind("still.jpg", "mjpeg", "yuvj420p", form="image2", frames=1),
    Kind("variable_rate.mkv", times=[0, 33, 40, 180, 181, 500, 533, 2000]),
    Kind("variable_rate.mp4", times=[0, 33, 40, 180, 181, 500, 533, 2000]),
    Kind("starts_late.mkv", times=range(10_000, 10_400, 50)),
    Kind("starts_late.ts", times=range(10_000, 10_400, 50)),
    Kind("starts_early.mp4", times=range(-100, 300, 50)),
    Kind("starts_early.nut", "ffv1", times=range(-400, 0, 50)),
    Kind("fast.mp4", rate=Fraction(120)),
    Kind("ntsc_film.mp4", rate=Fraction(24000, 1001)),
    Kind("wide_pixels.mp4", aspect=Fraction(16, 15)),
    Kind("narrow_pixels.mkv", aspect=Fraction(8, 9)),
    Kind("turned_90.mp4", turn=(90, False)),
    Kind("turned_270.mp4", turn=(-90, False)),
    Kind("turned_180.mov", turn=(180, False)),
    Kind("mirrored.mp4", turn=(0, True)),
    Kind("turned_and_mirrored.mp4", turn=(90, True)),
    Kind("turned_wide_pixels.mp4", turn=(90, False), aspect=Fraction(4, 3)),
    Kind("50% 12:30 schön.mp4"),
    Kind("eight_k.avi", "mjpeg", "yuvj420p", (7680, 4320), frames=1),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_frames_and_times_are_those_of_ffmpeg(kind: Kind, tmp_path: Path) -> None:
    path = encode(kind, tmp_path)
    notes: list[str] = []
    frames = list(read_video(path, notice=notes.append))
    expected, times = decode_with_ffmpeg(path)
    assert len(frames) == len(times)
    assert [frame.seconds for frame in frames] == pytest.approx(times, abs=2e-3)
    images = np.stack([frame.image_HWC for frame in frames])
    difference = cv2.absdiff(images.reshape(len(frames), -1), expected.reshape(len(frames), -1)).reshape(images.shape)
    if kind.field is not None:
        difference = difference[:, 4:-4]  # versions of bwdif differ in the first and last rows
    assert difference.max() <= (24 if path.suffix == ".webp" else 4)  # libwebp interpolates colours otherwise
    assert difference.mean() <= 2
    assert any("deinterlaced" in note for note in notes) == (kind.field is not None)
    assert not any("damaged" in note for note in notes)
    assert not any(frame.damaged for frame in frames)
    again: list[str] = []
    some = list(read_video(path, 3, notice=again.append))
    assert [(frame.number, frame.seconds) for frame in some] == [(frame.number, frame.seconds) for frame in frames[::3]]
    assert all(np.array_equal(frame.image_HWC, image_HWC) for frame, image_HWC in zip(some, images[::3], strict=True))
    assert again == notes
