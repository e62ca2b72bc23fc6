"""Writes a video with the faces' boxes and predictions drawn into it, and the audio of the original."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from blear.errors import DataError, RunError
from blear.predict.rows import Labels
from blear.progress import echo
from blear.video import VideoFrame, probe_video, read_video

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DO = "leave --annotate out, or convert the video"
_COMMENT = "annotated by blear"
_HOLD_S = 1.0  # a box is shown until the next prediction, at most this long
_NEW_CLOCK_S = 0.2  # a larger step backwards is a new clock, for instance of joined recordings
_TIME_BASE = Fraction(1, 90_000)
_COLOURS = ((255, 196, 0), (0, 190, 255), (120, 230, 80), (255, 110, 110), (200, 140, 255), (250, 250, 250))
_AUDIO = ("aac", "mp3", "opus", "ac3", "alac", "flac")  # codecs that an MP4 file can hold

Row = Mapping[str, Any]


def check_annotated(out: Path) -> None:
    """Checks the name of an annotated video before it is made.

    An empty file, or one that blear has annotated, may be replaced.

    Raises:
        RunError: the suffix is not .mp4, or there is another file of this name.
    """
    if out.suffix.lower() != ".mp4":
        raise RunError(f"the suffix {out.suffix!r} cannot be written", str(out), "choose a name that ends in .mp4")
    if out.exists() and out.stat().st_size and not _is_annotated(out):
        raise RunError("is a file that blear has not annotated", str(out), "choose another --annotate")


def _is_annotated(file: Path) -> bool:
    try:
        with av.open(f"file:{file.absolute()}") as container:
            return container.metadata.get("comment") == _COMMENT
    except (av.FFmpegError, OSError, ValueError):
        return False


def annotate_video(video: Path, rows: Iterable[Row], targets: Sequence[str], labels: Labels, out: Path) -> None:
    """Writes `out` (H.264 in MP4): every frame of the video, with the last prediction of each face.

    Args:
        rows: rows of `read_output`, ordered by time.

    Raises:
        RunError: see `check_annotated`, or the file cannot be written.
        DataError: the video cannot be read, or not be written as H.264.
    """
    check_annotated(out)
    partial, start = out.with_name(f".{out.name}.writing"), probe_video(video).start
    try:
        with av.open(str(partial), "w", format="mp4") as target, av.open(f"file:{video.absolute()}") as source:
            target.metadata["comment"] = _COMMENT
            sound = _Sound.of(source, target, video)
            stream: Any = None
            last = None
            for frame, shown in _with_rows(read_video(video, notice=lambda note: None), rows):
                image_HWC = frame.image_HWC.copy()
                height, width = (side - side % 2 for side in image_HWC.shape[:2])
                if stream is None:
                    if min(height, width) == 0:
                        raise DataError("cannot be annotated: H.264 needs two pixels a side", str(video), _DO)
                    stream = target.add_stream("libx264", options={"crf": "20", "preset": "veryfast"})
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                    stream.codec_context.time_base = _TIME_BASE
                for row in shown:
                    _draw(image_HWC, row, targets, labels)
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC[:height, :width]), "rgb24")
                time = round((start + frame.seconds) / _TIME_BASE)
                last = time if last is None else max(time, last + 1)  # frames of one time follow each other
                picture.pts, picture.time_base = last, _TIME_BASE
                target.mux(stream.encode(picture))
                if sound is not None:
                    sound.copy(start + frame.seconds)
            target.mux(stream.encode())
            if sound is not None:
                sound.copy(math.inf)
        partial.replace(out)
    except OSError as error:
        raise RunError(f"cannot be written: {error}", str(out), "choose another --annotate") from error
    except av.FFmpegError as error:
        raise DataError(f"cannot be annotated: {error.strerror}", str(video), _DO) from error
    finally:
        partial.unlink(missing_ok=True)


def _with_rows(frames: Iterable[VideoFrame], rows: Iterable[Row]) -> Iterator[tuple[VideoFrame, list[Row]]]:
    """Each frame with the rows of the last predicted frame."""
    groups = ((number, list(group)) for number, group in groupby(rows, key=lambda row: int(row["frame"])))
    following = next(groups, None)
    shown: list[Row] = []
    for frame in frames:
        while following is not None and following[0] <= frame.number:
            shown, following = following[1], next(groups, None)
        if shown and frame.seconds - shown[0]["seconds"] > _HOLD_S:
            shown = []
        yield frame, shown


def _draw(image_HWC: np.ndarray, row: Row, targets: Sequence[str], labels: Labels) -> None:
    colour = _COLOURS[sum(str(row["person"]).encode()) % len(_COLOURS)]
    left, top, right, bottom = (int(row[side]) for side in ("left", "top", "right", "bottom"))
    scale = max(0.4, image_HWC.shape[0] / 600)
    thick = max(1, round(2 * scale))
    cv2.rectangle(image_HWC, (left, top), (right, bottom), colour, max(2, thick))
    lines = [f"{row['person']}"]
    for target in targets:
        if target in labels:
            name = row[f"{target}_smoothed"] or "?"
            lines.append(f"{name} {row.get(f'{target}_{name}', row[f'{target}_score']):.2f}")
        else:
            lines.append(f"{target} {row[f'{target}_smoothed']:+.2f}")
    size, step = 0.8 * scale, round(26 * scale)
    below = bottom + step * len(lines) < image_HWC.shape[0]
    first = bottom if below else max(0, top - step * len(lines))
    width = max(cv2.getTextSize(line, _FONT, size, thick)[0][0] for line in lines)
    shade = image_HWC[first : first + step * len(lines), max(0, left) : max(0, left + width + step // 2)]
    shade[:] = shade // 4
    for number, line in enumerate(lines):
        place = (left + step // 4, first + step * number + round(0.75 * step))
        cv2.putText(image_HWC, line, place, _FONT, size, colour, thick, cv2.LINE_AA)


class _Sound:
    """Copies the packets of an audio stream. Their times rise, as those of `read_video` do.

    Args:
        source: stream of the original.
        target: container and stream of the copy.
    """

    def __init__(self, source: Any, target: tuple[Any, Any], video: Path) -> None:
        self._packets, (self._container, self._stream) = source.container.demux(source), target
        self._video, self._last, self._end, self._shift = video, -(1 << 63), 0, 0
        self._waiting = self._next()

    @classmethod
    def of(cls, source: Any, target: Any, video: Path) -> _Sound | None:
        """The first audio stream; None where there is none that can be copied."""
        if not source.streams.audio:
            return None
        stream = source.streams.audio[0]
        if stream.codec_context is None or stream.codec_context.name.removesuffix("float") not in _AUDIO:
            echo(f"{video}: its audio is left out: an MP4 file cannot hold it")
            return None
        return cls(stream, (target, target.add_stream_from_template(stream)), video)

    def copy(self, until: float) -> None:
        """Copies the packets until a time in seconds."""
        while self._waiting is not None and float(self._waiting.dts * self._waiting.time_base) <= until:
            self._waiting.stream = self._stream
            self._container.mux(self._waiting)
            self._waiting = self._next()

    def _next(self) -> Any:
        """The next packet, on the clock of the first ones; packets that go back a little are left out."""
        try:
            for packet in self._packets:
                if packet.dts is None:
                    continue
                dts = packet.dts + self._shift
                if (self._last - dts) * packet.time_base > _NEW_CLOCK_S:
                    self._shift += self._end - dts
                    dts = self._end
                if dts > self._last:
                    packet.pts = dts if packet.pts is None else packet.pts + self._shift
                    packet.dts = dts
                    self._last, self._end = dts, dts + max(1, packet.duration or 0)
                    return packet
        except (av.FFmpegError, IndexError):  # IndexError: see `StreamDecoder`
            echo(f"{self._video}: its audio is copied until the damaged place")
        return None
