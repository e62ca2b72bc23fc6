"""Decodes a video of which only every N-th frame is needed: frames that no other frame depends on are skipped."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

import av


class NotInOrderError(Exception):
    """The frames of a video cannot be numbered before they are decoded, or a frame is damaged."""


def decode_every(
    packets: Iterable[av.Packet], stream: av.VideoStream, every: int
) -> Iterator[tuple[av.VideoFrame, int]]:
    """Decodes the frames 0, `every`, 2 `every`, ... and the frames that these depend on.

    Frames are numbered in the order of display from the time stamps of their packets. Packets of frames that are not
    needed reach the decoder with `skip_frame` NONREF: it leaves them out where no other frame refers to them. The
    pixels of the needed frames do not change.

    Yields:
        The needed frames with their numbers.

    Raises:
        NotInOrderError: a packet without rising, unique time stamps; an interlaced frame, which is deinterlaced with
            its neighbours; a frame that is damaged or missing.
        av.FFmpegError: a packet cannot be decoded.
    """
    numbers: dict[int, int] = {}
    following, last = 0, -1
    for packet, number in _numbered(packets):
        if packet.pts is not None:
            numbers[packet.pts], last = number, max(last, number)
        stream.codec_context.skip_frame = "DEFAULT" if number % every == 0 else "NONREF"
        for frame in packet.decode():
            shown = numbers.pop(frame.pts, None) if frame.pts is not None else None
            if shown is None or frame.interlaced_frame or frame.is_corrupt or shown > following:
                raise NotInOrderError
            if shown == following:
                yield frame, shown
                following += every
                numbers = {pts: number for pts, number in numbers.items() if number > shown}
    if following <= last:
        raise NotInOrderError


def _numbered(packets: Iterable[av.Packet]) -> Iterator[tuple[av.Packet, int]]:
    """Each packet, in the order of decoding, with the number of its frame in the order of display; 0 for the flush.

    A number is final when the decoding time has reached the frame's display time, since later packets are displayed
    after their decoding. A few packets wait for it.
    """
    waiting: deque[av.Packet] = deque()
    pending: list[int] = []
    numbers: dict[int, int] = {}
    count, flush = 0, None
    decoded: int | None = None
    shown: int | None = None
    for packet in packets:
        pts, dts = packet.pts, packet.dts
        if not packet.size and pts is None and dts is None:
            flush = packet
            break
        if packet.is_discard or packet.is_corrupt or pts is None or dts is None or pts < dts:
            raise NotInOrderError
        if (decoded is not None and dts <= decoded) or (shown is not None and pts <= shown) or pts in pending:
            raise NotInOrderError
        decoded = dts
        waiting.append(packet)
        heapq.heappush(pending, pts)
        while pending and pending[0] <= dts:
            shown = heapq.heappop(pending)
            numbers[shown], count = count, count + 1
        while waiting and waiting[0].pts in numbers:
            ready = waiting.popleft()
            yield ready, numbers.pop(ready.pts)  # type: ignore[arg-type]
    for pts in sorted(pending):
        numbers[pts], count = count, count + 1
    for ready in waiting:
        yield ready, numbers.pop(ready.pts)  # type: ignore[arg-type]
    if flush is not None:
        yield flush, 0
