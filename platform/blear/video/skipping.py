"""Decodes a video of which only some frames are needed: frames that these do not depend on are skipped."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import av

from blear.video.packet_check import looks_whole
from blear.video.random_access import is_random_access
from blear.video.referenced_packets import MissingReferenceError, ReferencedPackets

_HELD_BYTES = 32 << 20

Wanted = Callable[[int, int], bool]
"""Whether a frame is needed, from its number and its time stamp; called in the order of display."""


class NotInOrderError(Exception):
    """The frames of a video cannot be numbered before they are decoded, or a frame is damaged."""


class MalformedPacketError(NotInOrderError):
    """A packet does not have the form of its codec, see `looks_whole`."""


def decode_wanted(
    packets: Iterable[av.Packet], stream: av.VideoStream, wanted: Wanted
) -> Iterator[tuple[av.VideoFrame, int]]:
    """Decodes the frames that are needed, and frames that these depend on. The pixels do not change.

    Frames are numbered in the order of display from the time stamps of their packets. Three kinds of packets are left
    out: those between the last needed frame before a random access point and this point, where decoding can begin anew;
    in HEVC, those of frames to which no needed frame refers, directly or through others; in other codecs, those of
    frames that no other frame refers to (`skip_frame` NONREF). Packets of frames that are not needed are checked by
    `looks_whole`.

    Yields:
        Decoded frames with their numbers; all needed frames are among them.

    Raises:
        NotInOrderError: a packet without rising, unique time stamps; an interlaced frame, which is deinterlaced with
            its neighbours; a frame that is damaged or missing.
        MalformedPacketError: a packet of a frame that is not needed is damaged.
        av.FFmpegError: a packet cannot be decoded.
    """
    numbers: dict[int, int] = {}
    needed: deque[int] = deque()  # numbers of frames that have not come, rising
    unsent: list[int] = []  # those whose packets have not been decoded, a heap
    context = stream.codec_context

    def decoded(part: _Numbered | None) -> Iterable[av.VideoFrame]:
        if part is None:
            yield from context.decode(None)
            context.flush_buffers()
            return
        packet, number, is_needed = part
        if packet.pts is not None:
            numbers[packet.pts] = number
        context.skip_frame = "DEFAULT" if is_needed else "NONREF"
        yield from packet.decode()

    for part in _without_tails(_numbered(packets, wanted, needed, unsent), stream, unsent):
        for frame in decoded(part):
            shown = numbers.pop(frame.pts, None) if frame.pts is not None else None
            late = shown is None or (needed and shown > needed[0])
            if late or shown is None or frame.interlaced_frame or frame.is_corrupt:
                raise NotInOrderError
            if needed and shown == needed[0]:
                needed.popleft()
                for pts in [pts for pts, number in numbers.items() if number <= shown]:
                    del numbers[pts]
            yield frame, shown
    if needed:
        raise NotInOrderError


_Numbered = tuple[av.Packet, int, bool]
"""A packet in the order of decoding, the number of its frame in the order of display, and whether it is needed."""


def _without_tails(
    packets: Iterable[_Numbered], stream: av.VideoStream, unsent: list[int]
) -> Iterator[_Numbered | None]:
    """Leaves packets out that only lead from the last needed frame to a random access point, and in HEVC other ones.

    Packets that are not needed wait for the next needed one, before which those that it depends on are decoded. At a
    random access point, the waiting packets are dropped, if no needed frame before the point is still to come; so are
    the frames that follow the point in the order of decoding and precede it in the order of display. The decoder begins
    anew at a None.
    """
    held: list[_Numbered] = []
    stored, point = 0, -1
    references = ReferencedPackets(stream) if stream.codec_context.codec.canonical_name == "hevc" else None
    for one in packets:
        packet, number, is_needed = one
        if packet.pts is None:  # the end
            yield one
            return
        if not is_needed and not looks_whole(packet, stream):
            raise MalformedPacketError
        if held and not (unsent and unsent[0] < number) and is_random_access(packet, stream):
            held, stored, point = [], 0, number
            if references is not None:
                references.begin_anew()
            yield None
        picture = references.read(packet) if references is not None else None
        if is_needed or stored >= _HELD_BYTES:
            if references is None:
                yield from held
            else:
                try:
                    chosen = set(references.choose(picture) if is_needed else references.choose_all())
                except MissingReferenceError as error:
                    raise NotInOrderError from error
                yield from ((waiting, place, True) for waiting, place, _ in held if waiting in chosen)
            held, stored = [], 0
        if is_needed:
            if unsent and unsent[0] == number:
                heapq.heappop(unsent)
            elif number in unsent:
                unsent.remove(number)
                heapq.heapify(unsent)
            yield one
        elif number >= point:
            held.append(one)
            stored += packet.size
            if references is not None:
                references.hold(packet, picture)


def _numbered(
    packets: Iterable[av.Packet], wanted: Wanted, needed: deque[int], unsent: list[int]
) -> Iterator[_Numbered]:
    """Numbers the packets, and appends the numbers of needed frames to `needed` and `unsent`.

    A number is final when the decoding time has reached the frame's display time, since later packets are displayed
    after their decoding. A few packets wait for it.
    """
    waiting: deque[av.Packet] = deque()
    pending: list[int] = []
    numbers: dict[int, tuple[int, bool]] = {}
    count, flush = 0, None
    decoded: int | None = None
    shown: int | None = None

    def number_next() -> int:
        nonlocal count
        pts = heapq.heappop(pending)
        is_needed = wanted(count, pts)
        if is_needed:
            needed.append(count)
            heapq.heappush(unsent, count)
        numbers[pts], count = (count, is_needed), count + 1
        return pts

    for packet in packets:
        pts, dts = packet.pts, packet.dts
        if not packet.size and pts is None and dts is None:
            flush = packet
            break
        if (
            packet.is_discard
            or packet.is_corrupt
            or pts is None
            or pts in pending
            or (shown is not None and pts <= shown)
        ):
            raise NotInOrderError
        waiting.append(packet)
        heapq.heappush(pending, pts)
        if dts is None and decoded is None:  # the first packets of Matroska
            continue
        if dts is None or pts < dts or (decoded is not None and dts <= decoded):
            raise NotInOrderError
        decoded = dts
        while pending and pending[0] <= dts:
            shown = number_next()
        while waiting and waiting[0].pts in numbers:
            ready = waiting.popleft()
            yield ready, *numbers.pop(ready.pts)  # type: ignore[arg-type]
    while pending:
        number_next()
    for ready in waiting:
        yield ready, *numbers.pop(ready.pts)  # type: ignore[arg-type]
    if flush is not None:
        yield flush, count, True
