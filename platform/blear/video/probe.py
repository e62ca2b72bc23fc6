"""Properties of a video that its container states."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from blear.video.container import choose_stream, frame_rate, open_container, time_base
from blear.video.webp import is_animated_webp, read_webp


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video, as its container states them.

    Attributes:
        codec: FFmpeg's name of the codec, for instance "h264".
        rate: average frames per second.
        frames: number of frames; None where the container states neither it nor the length. An estimate.
        start: time stamp of the first frame on the container's clock, in seconds.
    """

    codec: str
    rate: float
    frames: int | None
    start: float


def probe_video(video: Path, stream: int | None = None) -> VideoInfo:
    """Reads the properties of a video from its container.

    Raises:
        DataError: the file is missing or is not a video.
    """
    if is_animated_webp(video):
        times = [frame.seconds for frame in read_webp(video, 1)]
        return VideoInfo("webp", (len(times) - 1) / times[-1] if times[-1] else 10.0, len(times), 0.0)
    with open_container(video) as container:
        chosen = choose_stream(container, video, stream)
        base = time_base(chosen)
        seconds = float(chosen.duration * base) if chosen.duration else (container.duration or 0) / av.time_base
        rate = frame_rate(chosen)
        frames = chosen.frames or round(seconds * rate) or None
        start = float((chosen.start_time or 0) * base)
        return VideoInfo(chosen.codec_context.name, rate, frames, start)
