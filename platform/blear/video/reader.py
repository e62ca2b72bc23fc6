"""Reads a video frame by frame: decodes, deinterlaces, computes times, reports damage."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from blear.errors import DataError
from blear.progress import echo
from blear.video.container import (
    choose_stream,
    dropped_frames,
    frame_rate,
    is_cover,
    open_container,
    pixel_aspect,
    time_base,
    undecodable,
)
from blear.video.decoding import StreamDecoder
from blear.video.deinterlace import Deinterlacer
from blear.video.frames import RgbConverter, Thumbnails, VideoFrame
from blear.video.skipping import Wanted
from blear.video.times import FrameTimes
from blear.video.webp import is_animated_webp, read_webp

Damaged = Literal["mark", "skip", "refuse"]
_SHOWN_GAPS = 5


def read_video(
    video: Path,
    every: int = 1,
    *,
    wanted: Callable[[int, float], bool] | None = None,
    on_frames: Callable[[int, int], None] | None = None,
    damaged: Damaged = "mark",
    square_pixels: bool = True,
    deinterlace: bool = True,
    stream: int | None = None,
    threads: int = 0,
    hardware: str | None = None,
    notice: Callable[[str], None] | None = None,
) -> Iterator[VideoFrame]:
    """Iterates over every `every`-th frame of a video, beginning with the first one.

    Only images that are read are converted to RGB. Frames that are not asked for are decoded where others depend on
    them. The form of the rest is checked; wrong pixels in it are found with `damaged="refuse"` only, which decodes all.
    Images are upright, have square pixels and the size of the first frame.

    Args:
        wanted: which frames are needed, from their number and time in seconds, in place of `every`; called for each
            frame in the order of display. Decoded frames that are not needed are yielded, too: they are those that
            others depend on.
        on_frames: is called with the number of frames of the video that were read since the last call, and the number
            of those that were not decoded. The second number is negative where earlier frames are decoded after all,
            because a damaged place was found.
        damaged: what happens to damaged frames: "mark" yields them with `VideoFrame.damaged`; "skip" leaves them out,
            with their numbers; "refuse" raises an error.
        square_pixels: stretch frames whose stored pixels are not square.
        deinterlace: deinterlace the frames that the video marks as interlaced.
        stream: number among the video streams; None: the largest one that is no cover picture.
        threads: threads of the decoder; 0: one for each core. HEVC is always decoded in one thread, because FFmpeg's
            decoder with several threads can wait for ever at damaged data.
        hardware: a device that decodes, for instance "cuda"; the CPU where it cannot decode the video.
        notice: receives messages, each at most once for a video: damage, deinterlacing, several streams, frames without
            time stamps, frames of several sizes. Default: they are printed.

    Raises:
        DataError: the file is missing or is not a video; or it is damaged, and `damaged` is "refuse".
    """
    if is_animated_webp(video):
        yield from read_webp(video, every)
        return
    notice = notice or echo
    facts = _facts(video, stream)
    for note in facts.notes:
        notice(f"{video}: {note}")
    chosen = (
        None if damaged == "refuse" or (every == 1 and wanted is None) else _by_stamp(wanted, every, facts.time_base)
    )
    decoder = StreamDecoder(video, stream, threads, hardware, chosen)
    counted = left_out = 0
    deinterlacer = Deinterlacer()
    times = FrameTimes(facts.start, facts.time_base, facts.rate)
    timed = (
        (frame, (number, times(frame.pts, frame.dts, damaged=broken), broken))
        for frame, number, broken in decoder.frames()
    )
    convert: RgbConverter | None = None
    shrink = Thumbnails()
    damage, said = _Damage(), set[str]()
    for frame, (number, seconds, broken) in deinterlacer(timed) if deinterlace else timed:
        size = (frame.width, frame.height)
        if convert is None:
            stored, convert = size, RgbConverter(*size, facts.pixel_aspect if square_pixels else 1.0)
        for applies, text in (
            (deinterlacer.used, "is interlaced; its frames are deinterlaced (bwdif)"),
            (times.computed > 0, f"frames without a time stamp; their times follow from {facts.rate:g} frames/s"),
            (size != stored, f"frames of several sizes; all are resized to {stored[0]} x {stored[1]} pixels"),
        ):
            if applies and text not in said:
                said.add(text)
                notice(f"{video}: {text}")
        if broken:
            damage.seconds.append(seconds)
            if damaged == "refuse":
                raise DataError(f"damaged at {seconds:.2f} s", str(video), "get a whole copy")
        if (wanted is not None or number % every == 0) and not (broken and damaged == "skip"):
            image, small = functools.partial(convert, frame), functools.partial(shrink, frame)
            yield VideoFrame(number, seconds, image, facts.pixel_aspect, broken, small)
        if on_frames is not None:
            on_frames(number + 1 - counted, decoder.left_out - left_out)
        counted, left_out = number + 1, decoder.left_out
    if decoder.count == 0:
        raise undecodable(video)
    if on_frames is not None:
        on_frames(decoder.count - counted, decoder.left_out - left_out)
    report = damage.report(decoder.count, facts, decoder)
    if report and damaged == "refuse":
        raise DataError(report, str(video), "get a whole copy")
    if report:
        notice(f"{video}: {report}")


def _by_stamp(wanted: Callable[[int, float], bool] | None, every: int, base: Fraction) -> Wanted:
    """Chooses frames by `wanted` or by their number. The first frame has the time 0."""
    start: int | None = None

    def choose(number: int, pts: int) -> bool:
        nonlocal start
        if wanted is None:
            return number % every == 0
        start = pts if start is None else start
        return wanted(number, float((pts - start) * base))

    return choose


@dataclass(frozen=True)
class _Facts:
    """Facts of a stream: start in units of `time_base`; `frames` as stated, 0 where not; `notes` for the user."""

    start: int | None
    time_base: Fraction
    rate: float
    pixel_aspect: float
    frames: int
    notes: list[str]


def _facts(video: Path, index: int | None) -> _Facts:
    with open_container(video) as container:
        stream = choose_stream(container, video, index)
        others = [other for other in container.streams.video if not is_cover(other)]
        notes = []
        if index is None and len(others) > 1:
            number = list(container.streams.video).index(stream)
            context = stream.codec_context
            notes = [f"{len(others)} video streams; stream {number} ({context.width} x {context.height}) is read"]
        stated = 0 if is_cover(stream) else stream.frames - dropped_frames(container, stream)
        base = time_base(stream)
        return _Facts(stream.start_time, base, frame_rate(stream), pixel_aspect(stream), stated, notes)


class _Damage:
    """Collects the times of damaged frames of one reading."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def report(self, count: int, facts: _Facts, decoder: StreamDecoder) -> str:
        """One line on the damage; empty where there is none.

        Args:
            count: number of decoded frames.
        """
        lost = facts.frames - count - decoder.discarded
        lost = lost if lost > max(5, 0.1 * facts.frames) or (lost > 0 and decoder.missing) else 0
        if not (self.seconds or decoder.errors or lost or decoder.is_malformed):
            return ""
        base = facts.time_base
        missing = [float((pts - (facts.start or 0)) * base) for pts in decoder.missing]
        times = _ranges(sorted([*self.seconds, *missing]), 1.5 / facts.rate)
        shown = ", ".join(times[:_SHOWN_GAPS]) + (f" and {len(times) - _SHOWN_GAPS} more" * (len(times) > _SHOWN_GAPS))
        parts = [f"{count} frames decoded"]
        if lost or missing:
            parts.append(f"{max(lost, len(missing))} missing")
        if self.seconds:
            parts.append(f"{len(self.seconds)} marked as damaged")
        if len(parts) == 1 and decoder.is_malformed:
            parts.append("but the coded data of at least one is not of the form of its codec")
        return f"the file is damaged: {', '.join(parts)}{f' (at {shown} s)' if times else ''}"


def _ranges(seconds: list[float], step: float) -> list[str]:
    """Joins rising times that are at most `step` apart: ["0.50-0.62", "1.20"]."""
    groups: list[list[float]] = []
    for time in seconds:
        if groups and time - groups[-1][-1] <= step:
            groups[-1].append(time)
        else:
            groups.append([time])
    return [f"{g[0]:.2f}" if len(g) == 1 else f"{g[0]:.2f}-{g[-1]:.2f}" for g in groups]
