"""Decodes the packets of a video stream, past damaged places."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av

from blear.video.container import choose_stream, open_container

_MOST_DEMUX_ERRORS = 100  # in a row; some demuxers return the same error for ever


class StreamDecoder:
    """Decodes one stream of a file, from its beginning.

    Several threads decode, until the first damaged place: from there on, frames are decoded in one thread, because
    several threads mark damaged frames differently from one run to the next.

    Args:
        stream: number of the video stream; None: see `choose_stream`.
        threads: threads of the decoder; 0: one for each core.
        hardware: see `open_container`.

    Attributes:
        missing: the container's time stamps of frames that could not be decoded, in the stream's time base, rising.
        errors: number of errors of the demuxer and the decoder.
        discarded: number of packets that the container excludes from display (edit lists).
    """

    def __init__(self, video: Path, stream: int | None, threads: int, hardware: str | None) -> None:
        self._video, self._index, self._threads, self._hardware = video, stream, threads, hardware
        self._reset()

    def _reset(self) -> None:
        self.missing: list[int] = []
        self.errors = self.discarded = 0
        self._waiting: set[int] = set()  # time stamps of packets whose frames have not come yet

    def frames(self) -> Iterator[tuple[av.VideoFrame, bool]]:
        """Yields each frame, and whether it is damaged or follows missing frames.

        Raises:
            DataError: the file is not a video.
        """
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

    def _decode(self, threads: int) -> Iterator[tuple[av.VideoFrame, bool]]:
        with open_container(self._video, self._hardware) as container:
            stream = choose_stream(container, self._video, self._index)
            stream.thread_type = "NONE" if threads == 1 else "AUTO"
            stream.codec_context.thread_count = threads
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
