"""Time stamps of decoded frames in seconds: from the container where it has them, otherwise from the frame rate."""

from __future__ import annotations

from fractions import Fraction

_JITTER = 5  # frames; a larger step backwards is a new clock, for instance of joined recordings


class FrameTimes:
    """Seconds of one frame after another, in the order of display.

    Args:
        start: the stream's start on the container's clock, in units of `time_base`; the origin where the first frames
            are damaged. Otherwise the first frame has the time 0.
        time_base: seconds of one unit.
        rate: frames per second, for frames without a time stamp.

    Attributes:
        computed: number of frames whose time was computed from the rate.
    """

    def __init__(self, start: int | None, time_base: Fraction, rate: float) -> None:
        self._start, self._time_base, self._step = start, time_base, 1 / rate
        self._last: float | None = None
        self._shift = 0.0
        self._last_pts = self._last_dts = -(1 << 63)
        self._faulty_pts = self._faulty_dts = 0
        self.computed = 0

    def __call__(self, pts: int | None, dts: int | None, *, damaged: bool = False) -> float:
        """Time of the next frame in seconds; never less than the time of the frame before it.

        Args:
            pts: presentation time stamp of the frame.
            dts: decoding time stamp of the packet that completed the frame.
            damaged: the frame is damaged, or frames before it are missing.
        """
        stamp = self._best_effort(pts, dts)
        following = 0.0 if self._last is None else self._last + self._step
        if stamp is None:
            self.computed += 1
            seconds = following
        else:
            if self._start is None or (self._last is None and (not damaged or stamp < self._start)):
                self._start = stamp
            seconds = float((stamp - self._start) * self._time_base) + self._shift
            if self._last is not None and seconds < self._last - _JITTER * self._step:
                self._shift += following - seconds
                seconds = following
        self._last = seconds if self._last is None else max(seconds, self._last)
        return self._last

    def _best_effort(self, pts: int | None, dts: int | None) -> int | None:
        """FFmpeg's choice between the two (`guess_correct_pts` of libavcodec): whichever rises more reliably."""
        if dts is not None:
            self._faulty_dts += dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._faulty_pts += pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        return pts if pts is not None and (self._faulty_pts <= self._faulty_dts or dts is None) else dts
