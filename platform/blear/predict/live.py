"""Frame windows of a stream: all of them, or the newest one whenever a prediction is done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np

from blear.predict.newest import Newest
from blear.predict.video import FrameWindow, ShotBuffer, shot_buffers
from blear.video import VideoFrame
from blear.video.stream import VideoStream

_KEPT = 10_000  # latencies


class LiveSource:
    """An opened stream as a source of frame windows; a context manager.

    Args:
        address: see `blear.video.stream.is_stream`.
        drop: whether frames that come while earlier ones are predicted are replaced by newer ones; None: they are,
            unless the stream is a file at an address.

    Attributes:
        drop: as it was decided.

    Raises:
        DataError: the stream cannot be opened.
    """

    def __init__(self, address: str, drop: bool | None = None) -> None:
        self._stream = VideoStream(address)
        self.drop = not self._stream.has_end if drop is None else drop
        self._latencies: deque[float] = deque(maxlen=_KEPT)
        self._newest: Newest[tuple[float, ShotBuffer]] | None = None

    def windows(
        self,
        frames: Callable[[Iterable[VideoFrame]], Iterable[VideoFrame]],
        chosen: Callable[[VideoFrame], bool],
        length: int,
        cuts: bool = True,
    ) -> Iterator[FrameWindow]:
        """Yields windows; see `predict.video.windows`. The time until the next one is asked for is its latency.

        Args:
            frames: passes the frames of the stream on, for instance counted.
        """
        buffers = (
            (time.monotonic(), buffer)
            for buffer in shot_buffers(frames(self._stream.frames()), length, cuts)
            if chosen(buffer.frames[-1])
        )
        if self.drop:
            self._newest = Newest(buffers)
        for arrived, buffer in self._newest or buffers:
            yield buffer.window(length)
            self._latencies.append(time.monotonic() - arrived)

    def facts(self) -> dict[str, Any]:
        """Codec and rate; of a live stream also the dropped frames, and the latency of the last predictions."""
        facts: dict[str, Any] = {"codec": self._stream.codec, "rate": self._stream.rate}
        if self.drop and self._latencies:
            median, most = np.quantile(list(self._latencies), (0.5, 0.95))
            facts["latency_ms"] = {"median": round(1000 * float(median)), "p95": round(1000 * float(most))}
        if self._newest is not None:
            facts["dropped"] = self._newest.dropped
        return facts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._newest is None or self._newest.stop():
            self._stream.close()
