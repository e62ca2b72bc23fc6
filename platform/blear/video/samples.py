"""A few frames spread over a video, found by seeking, without decoding the frames between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from blear.errors import DataError
from blear.video.container import choose_stream, open_container, pixel_aspect, time_base
from blear.video.frames import RgbConverter
from blear.video.webp import is_animated_webp, read_webp


def sample_frames(video: Path, count: int, stream: int | None = None) -> Iterator[np.ndarray]:
    """Yields up to `count` frames: the first one, and key frames spread evenly over the length of the video.

    Args:
        stream: see `read_video`.

    Returns:
        RGB uint8 [H, W, 3], upright as the container states it; fewer where the video cannot seek, has fewer key frames
        or is damaged.

    Raises:
        DataError: the file is missing or is not a video.
    """
    if is_animated_webp(video):
        for number, picture in enumerate(read_webp(video, 1)):
            if number < count:
                yield picture.image_HWC
        return
    with open_container(video) as container:
        chosen = choose_stream(container, video, stream)
        chosen.thread_type = "NONE"
        seconds = float((chosen.duration or 0) * time_base(chosen)) or (container.duration or 0) / av.time_base
        start = float((chosen.start_time or 0) * time_base(chosen))
        convert, last = None, None
        for number in range(count if seconds else 1):
            try:
                if number:
                    place = start + seconds * number / count
                    container.seek(int(place / time_base(chosen)), stream=chosen)
                frame = next(iter(container.decode(chosen)))
                if frame.pts is not None and frame.pts == last:
                    continue
                last = frame.pts
                convert = convert or RgbConverter(frame.width, frame.height, pixel_aspect(chosen))
                image_HWC = convert(frame)
            except (av.FFmpegError, IndexError, StopIteration, DataError):  # IndexError: see `StreamDecoder`
                continue
            yield image_HWC
