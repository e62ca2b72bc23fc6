"""Small videos of many kinds, encoded with PyAV, and their decoding by the program ffmpeg."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np

from blear.video import open_encoder

FRAMES = 8


@dataclass(frozen=True)
class Kind:
    """A kind of video file.

    Attributes:
        name: name of the file; its suffix chooses the container.
        times: time stamps of the frames in units of 1/1000 s; None: from the rate.
        field: "tff" or "bff": the encoder is told that the frames are interlaced.
        turn: degrees counterclockwise, horizontal mirroring.
    """

    name: str
    codec: str = "libx264"
    pixels: str = "yuv420p"
    size: tuple[int, int] = (64, 48)
    rate: Fraction = Fraction(25)
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    form: str | None = None
    frames: int = FRAMES
    times: Sequence[int] | None = None
    field: str | None = None
    aspect: Fraction | None = None
    turn: tuple[int, bool] | None = None


def scene(width: int, height: int, number: int) -> np.ndarray:
    """A picture with colours that change slowly, fine grey lines, and a bright square that moves, uint8 [H, W, 3]."""
    if width > 4000:
        return scene(width // 16, height // 16, number).repeat(16, axis=0).repeat(16, axis=1)
    y, x = np.arange(height)[:, None], np.arange(width)[None]
    grey = 60 + 80 * x / width + 20 * (y % 4 == 0)
    side, left = max(4, height // 4), (number * max(2, width // 16)) % (width - width // 4)
    grey[height // 3 : height // 3 + side, left : left + side] += 70
    tint = np.array([20.0, 0.0, -20.0]) * np.cos(0.4 * number)
    return (grey[..., None] + tint).astype(np.uint8)


def encode(kind: Kind, folder: Path) -> Path:
    """Writes a video of the kind into a folder."""
    path = folder / kind.name
    with av.open(f"file:{path}", "w", format=kind.form, options=kind.container) as container:
        add_stream(container, kind)()
    return path


def add_stream(container: Any, kind: Kind) -> Any:
    """Adds the stream of a kind to a container; gives the function that encodes its frames."""
    steady = (
        {"mbtree": "0"} if kind.codec == "libx264" else {}
    )  # with mbtree, x264 gives different files for small frames
    stream = container.add_stream(kind.codec, rate=kind.rate, options=steady | kind.options)
    stream.width, stream.height = kind.size
    stream.pix_fmt = kind.pixels
    if kind.aspect is not None:
        stream.codec_context.sample_aspect_ratio = kind.aspect
    if kind.times is not None:
        stream.codec_context.time_base = Fraction(1, 1000)
    if kind.turn is not None:
        stream.set_display_rotation(kind.turn[0], hflip=kind.turn[1])

    def encode_frames() -> None:
        open_encoder(stream.codec_context)
        for number, frame in enumerate(_frames(kind)):
            if kind.times is not None:
                frame.pts, frame.time_base = kind.times[number], Fraction(1, 1000)
            else:
                frame.pts, frame.time_base = number, 1 / kind.rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

    return encode_frames


def _frames(kind: Kind) -> list[av.VideoFrame]:
    frames = []
    for number in range(kind.frames):
        image = scene(*kind.size, 2 * number)
        if kind.field is not None:
            image[1::2] = scene(*kind.size, 2 * number + 1)[1::2]
        frame = av.VideoFrame.from_ndarray(image, "rgb24")
        range_ = {"dst_color_range": "JPEG"} if kind.options.get("color_range") == "pc" else {}
        frame = frame.reformat(format=kind.pixels, **range_)
        frames.append(frame if kind.field is None else _as_interlaced(frame, kind.field))
    return frames


def _as_interlaced(frame: av.VideoFrame, order: str) -> av.VideoFrame:
    graph = av.filter.Graph()
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def decode_with_ffmpeg(path: Path, stream: int = 0) -> tuple[np.ndarray, list[float]]:
    """Decodes a video with the program ffmpeg: upright, deinterlaced, with square pixels.

    Returns:
        All bytes of the RGB frames, uint8; the times of the frames in seconds from the first one.
    """
    times, raw = path.parent / "ffmpeg-times.txt", path.parent / "ffmpeg-frames.rgb"
    filters = "bwdif=send_frame:auto:interlaced,scale=w='iw*max(1,sar)':h='ih*max(1,1/sar)',setsar=1"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-copyts", "-threads", "1", "-i", f"file:{path}"]
    command += ["-map", f"0:v:{stream}", "-fps_mode", "passthrough", "-vf", filters]
    command += ["-stats_enc_pre", f"file:{times}", "-stats_enc_pre_fmt", "{t}", "-enc_time_base", "1:90000"]
    command += ["-pix_fmt", "rgb24", "-c:v", "rawvideo", "-f", "rawvideo", f"file:{raw}"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = [float(line) for line in times.read_text().split()]
    return np.fromfile(raw, np.uint8), [time - seconds[0] for time in seconds]
