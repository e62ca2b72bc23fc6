"""Benchmark: some frames of a video by `read_video`, and by OpenCV, which decodes and converts every frame.

CPU time, one thread of the decoder, two real clips: 1080p H.264 with one key frame, and 960 x 540 HEVC of a phone with
a key frame every 30 frames. Also measured: decoding alone, all frames, without conversion (PyAV).
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
from face_composites import DATA
from measuring import Row, interleaved, quartiles

from blear.video import probe_video, read_video

CLIPS = {
    "1080p H.264": "mead/M030_sad_3_001.mp4",
    "960 x 540 HEVC": "misc/face_noface.mov",
}
REPEATS = int(os.environ.get("REPEATS", "5"))


def measure() -> list[Row]:
    """Rows: frames of the video per CPU second. None without real data (`BLEAR_DATA`)."""
    if not (DATA / "video").is_dir():
        return []
    cv2.setNumThreads(1)
    rows = []
    for name, clip in CLIPS.items():
        video = DATA / "video" / clip
        info = probe_video(video)
        for title, every in (("every 10th frame", 10), ("one frame per second", round(info.rate))):
            arms = {
                "OpenCV": partial(_opencv, video, every),
                "decoding alone, all frames": partial(_decoded, video),
                "read_video": partial(_read, video, every),
            }
            seconds = interleaved(arms, REPEATS, warm=1, clock=time.process_time)
            count = info.frames or 0
            for arm, times in seconds.items():
                ratios = [other / own for own, other in zip(times, seconds["OpenCV"], strict=True)]
                ratio, against = (None, "") if arm == "OpenCV" else (float(np.median(ratios)), "OpenCV")
                spread = quartiles([count / one for one in times])
                rate = count / float(np.median(times))
                rows.append(Row(f"{name}, {title}: {arm}", rate, "frames/s", ratio, against, spread))
            left = sum(1 for _ in read_video(video, wanted=lambda number, seconds, every=every: number % every == 0))
            rows.append(Row(f"{name}, {title}: decoded by read_video", 100 * left / count, "% of the frames"))
    return rows


def _opencv(video: Path, every: int) -> None:
    reader = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    number = 0
    while True:
        more, image_bgr = reader.read()
        if not more:
            return
        if number % every == 0:
            np.ascontiguousarray(image_bgr[..., ::-1])
        number += 1


def _decoded(video: Path) -> None:
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for _ in container.decode(stream):
            pass


def _read(video: Path, every: int) -> None:
    for frame in read_video(video, every, threads=1):
        assert frame.image_HWC.size
