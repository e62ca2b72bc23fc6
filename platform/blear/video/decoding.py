"""Decodes the packets of a video stream, past damaged places."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import av

from blear.video.container import choose_stream, open_container
from blear.video.skipping import MalformedPacketError, NotInOrderError, Wanted, decode_wanted

_DECODER_BYTES = 200 << 20
ONE_THREAD = frozenset({"hevc"})
"""Decoders of FFmpeg that can wait for ever at damaged data if they have several threads."""
_MOST_THREADS = 16  # FFmpeg advises against more
_MOST_DEMUX_ERRORS = 100  # in a row; some demuxers return the same error for ever


class StreamDecoder:
    """Decodes one stream of a file, from its beginning.

    Several threads decode, until the first damaged place: from there on, frames are decoded in one thread, because
    several threads mark damaged frames differently from one run to the next.

    Args:
        stream: number of the video stream; None: see `choose_stream`.
        threads: threads of the decoder; 0: one for each core, fewer for large frames. Those of `ONE_THREAD` have one.
        hardware: see `open_container`.
        wanted: which frames are needed; others may be left out, see `decode_wanted`. None: all are needed.

    Attributes:
        count: number of frames of the video until now, those that were left out included.
        left_out: number of frames among them that were not decoded, so that damage in their pixels is not seen.
        missing: the container's time stamps of frames that could not be decoded, in the stream's time base, rising.
        is_malformed: a packet does not have the form of its codec; packets of needed frames are not checked for it.
        errors: number of errors of the demuxer and the decoder.
        discarded: number of packets that the container excludes from display (edit lists).
    """

    def __init__(
        self, video: Path, stream: int | None, threads: int, hardware: str | None, wanted: Wanted | None = None
    ) -> None:
        self._video, self._index, self._threads, self._hardware = video, stream, threads, hardware
        self._wanted, self.count, self.left_out = wanted, 0, 0
        self.is_malformed = False
        self._reset()

    def _reset(self) -> None:
        self.missing: list[int] = []
        self.errors = self.discarded = 0
        self._waiting: set[int] = set()  # time stamps of packets whose frames have not come yet

    def frames(self) -> Iterator[tuple[av.VideoFrame, int, bool]]:
        """Yields frames with their numbers, and whether they are damaged or follow missing frames.

        Raises:
            DataError: the file is not a video.
        """
        last_pts: int | None = None
        shown = 0
        if self._wanted is not None:
            try:
                for decoded, (frame, number) in enumerate(self._skipping(self._wanted), start=1):
                    last_pts, self.left_out = frame.pts, number + 1 - decoded
                    yield frame, number, False
                    shown = decoded
            except (NotInOrderError, av.FFmpegError, IndexError) as error:
                self._reset()
                self.is_malformed = isinstance(error, MalformedPacketError)
            else:
                self.left_out = self.count - shown
                return
        self.count = self.left_out = 0
        for number, (frame, damaged) in enumerate(self._all()):
            self.count = number + 1
            if last_pts is None or frame.pts is None or frame.pts > last_pts:
                last_pts = None
                yield frame, number, damaged

    def _skipping(self, wanted: Wanted) -> Iterator[tuple[av.VideoFrame, int]]:
        with open_container(self._video, self._hardware) as container:
            stream = self._open_stream(container, self._threads)
            yield from decode_wanted(self._counted(container, stream), stream, wanted)

    def _counted(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
        for packet in container.demux(stream):
            if packet.stream is stream:
                self.count += packet.size > 0
                yield packet

    def _all(self) -> Iterator[tuple[av.VideoFrame, bool]]:
        count = 0
        if self._threads != 1:
            for frame, damaged in self._decode(self._threads):
                if damaged or self.errors:
                    break
                yield frame, False
                count += 1
            else:
                if not self.errors:
                    return
            self._reset()
        for number, decoded in enumerate(self._decode(1)):
            if number >= count:
                yield decoded

    def _open_stream(self, container: av.container.InputContainer, threads: int) -> av.VideoStream:
        stream = choose_stream(container, self._video, self._index)
        context = stream.codec_context
        if context.name in ONE_THREAD:
            threads = 1
        if threads == 0:
            held = 4 * max(1, context.width * context.height)  # a thread holds a frame, its predecessor and packets
            threads = max(1, min(len(os.sched_getaffinity(0)), _MOST_THREADS, _DECODER_BYTES // held))
        stream.thread_type = "NONE" if threads == 1 else "AUTO"
        context.thread_count = threads
        return stream

    def _decode(self, threads: int) -> Iterator[tuple[av.VideoFrame, bool]]:
        with open_container(self._video, self._hardware) as container:
            stream = self._open_stream(container, threads)
            exact = "mov" in container.format.name  # one packet is one frame
            errors, first = 0, True
            for packet in self._packets(container, stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    self.errors += 1
                    frames = []
                for frame in frames:
                    lost = self._lost_before(frame)
                    gap = self.errors > errors or (exact and lost and not first)
                    errors, first = self.errors, False
                    yield frame, gap or frame.is_corrupt
            self.missing.extend(sorted(self._waiting))

    def _packets(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
        packets, failed = container.demux(stream), 0
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except IndexError:  # PyAV at the end of a damaged file in which streams appeared
                yield from _flush(stream)
                return
            except av.FFmpegError:
                self.errors, failed = self.errors + 1, failed + 1
                if failed == _MOST_DEMUX_ERRORS:
                    yield from _flush(stream)
                    return
                packets = container.demux(stream)
                continue
            failed = 0
            if packet.stream is not stream:
                continue
            if packet.is_discard:
                self.discarded += 1
            elif packet.size and packet.pts is not None:
                self._waiting.add(packet.pts)
            yield packet

    def _lost_before(self, frame: av.VideoFrame) -> bool:
        """Records the packets before `frame` that gave no frame; whether there are any."""
        if frame.pts is None:
            return False
        self._waiting.discard(frame.pts)
        lost = sorted(pts for pts in self._waiting if pts < frame.pts)
        self._waiting.difference_update(lost)
        self.missing.extend(lost)
        return bool(lost)


def _flush(stream: av.VideoStream) -> Iterator[av.Packet]:
    packet = av.Packet()
    packet.stream = stream
    yield packet
