"""Deinterlaces the interlaced frames of a video with FFmpeg's filter bwdif. Progressive frames are not changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

import av

_TIME_BASE = Fraction(1, 1000)
Info = TypeVar("Info")


class Deinterlacer:
    """Passes frames through; from the first interlaced one on, through the filter.

    Attributes:
        used: whether an interlaced frame has come.
    """

    def __init__(self) -> None:
        self.used = False

    def __call__(self, frames: Iterable[tuple[av.VideoFrame, Info]]) -> Iterator[tuple[av.VideoFrame, Info]]:
        """Yields as many frames as come in, each with the information that came with it, in the same order."""
        graph: av.filter.Graph | None = None
        form: tuple[int, int, str] | None = None
        waiting: dict[int, tuple[av.VideoFrame, Info]] = {}
        for number, (frame, info) in enumerate(frames):
            this = (frame.width, frame.height, frame.format.name)
            if graph is not None and this != form:
                graph.vpush(None)
                yield from _pull(graph, waiting)
                graph = None
            if graph is None and not frame.interlaced_frame:
                yield frame, info
                continue
            if graph is None:
                try:
                    graph = _graph(frame)
                except av.FFmpegError:  # the filter has no output for frames of fewer than 3 x 4 pixels
                    yield frame, info
                    continue
                self.used, form = True, this
            waiting[number] = frame, info
            frame.pts, frame.time_base = number, _TIME_BASE  # the filter needs time stamps that rise
            graph.vpush(frame)
            yield from _pull(graph, waiting)
        if graph is not None:
            graph.vpush(None)
            yield from _pull(graph, waiting)


def _graph(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_TIME_BASE)
    graph.link_nodes(source, graph.add("bwdif", "send_frame:auto:interlaced"), graph.add("buffersink")).configure()
    return graph


def _pull(
    graph: av.filter.Graph, waiting: dict[int, tuple[av.VideoFrame, Info]]
) -> Iterator[tuple[av.VideoFrame, Info]]:
    while True:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        seconds = (frame.pts or 0) * (frame.time_base or _TIME_BASE)
        original, info = waiting.pop(round(seconds / _TIME_BASE))
        yield (frame if original.interlaced_frame else original), info
