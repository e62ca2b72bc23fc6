"""Chooses the packets of an HEVC video that the needed frames depend on."""

from __future__ import annotations

from collections.abc import Iterable

import av

from blear.video.hevc_references import CodedPicture, HevcReferences, PictureId


class MissingReferenceError(Exception):
    """A needed frame refers to a frame that is not there."""


class ReferencedPackets:
    """Holds packets that are not needed, and chooses those of them that a needed one depends on.

    A frame may be dropped when a needed frame comes: no frame that follows the needed one can refer to it, unless the
    needed frame keeps it. Where a packet cannot be read, all packets are chosen.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        self._read = HevcReferences(stream)
        self._held: dict[PictureId, tuple[av.Packet, CodedPicture]] = {}
        self._packets: list[av.Packet] = []
        self._sent: set[PictureId] | None = set()  # pictures in the decoder, perhaps more; None: any
        self._anchor: PictureId | None = None  # see `CodedPicture.is_anchor`
        self._is_known = True  # all packets since the last choice were read

    def read(self, packet: av.Packet) -> CodedPicture | None:
        """The picture of the next packet in the order of decoding; called for all packets."""
        picture = self._read(packet)
        self._is_known = self._is_known and picture is not None
        return picture

    def hold(self, packet: av.Packet, picture: CodedPicture | None) -> None:
        """Adds a packet that is not needed."""
        self._packets.append(packet)
        if picture is not None:
            self._held[picture.id] = packet, picture

    def begin_anew(self) -> None:
        """Drops the held packets; the decoder begins with the next one."""
        self._sent, self._anchor, self._is_known = set(), None, True
        self._clear()

    def choose(self, picture: CodedPicture | None) -> list[av.Packet]:
        """The held packets that must be decoded before a needed picture, in order; the others are dropped.

        Raises:
            MissingReferenceError: the picture depends on one that is not in the video.
        """
        if picture is None or not self._is_known:
            return self._all(picture)
        chosen = self._dependencies(picture)
        pictures = [held for _, held in self._held.values() if held.id in chosen]
        if not self._orders_are_right([*pictures, picture]):
            return self._all(picture)
        packets = [packet for packet, held in self._held.values() if held.id in chosen]
        present = picture.keeps if self._sent is None else picture.keeps & (self._sent | chosen)
        self._sent = {*present, picture.id}
        self._clear()
        return packets

    def choose_all(self) -> list[av.Packet]:
        """All held packets."""
        return self._all(None) if not self._is_known else self._take(held for _, held in self._held.values())

    def _dependencies(self, picture: CodedPicture) -> set[PictureId]:
        chosen: set[PictureId] = set()
        waiting = [*picture.refers, *(picture.keeps & self._held.keys())]
        while waiting:
            one = waiting.pop()
            if one in self._held:
                if one not in chosen:
                    chosen.add(one)
                    waiting += self._held[one][1].refers
            elif self._sent is not None and one not in self._sent:
                raise MissingReferenceError
        return chosen

    def _orders_are_right(self, pictures: Iterable[CodedPicture]) -> bool:
        """Whether the decoder, which sees these pictures only, completes the coded bits of their orders rightly."""
        anchor = self._anchor
        for picture in pictures:
            of_anchor, order = anchor or (-1, 0)
            if picture.id[0] == of_anchor and abs(picture.id[1] - order) >= picture.order_range // 2:
                return False
            anchor = picture.id if picture.is_anchor else anchor
        self._anchor = anchor
        return True

    def _all(self, picture: CodedPicture | None) -> list[av.Packet]:
        if not self._is_known:
            self._sent, self._anchor = None, None
        self._is_known = True
        return self._take([*(held for _, held in self._held.values()), *([picture] if picture is not None else [])])

    def _take(self, pictures: Iterable[CodedPicture]) -> list[av.Packet]:
        """All held packets, among them those of `pictures`."""
        for picture in pictures:
            if self._sent is not None:
                self._sent.add(picture.id)
            self._anchor = picture.id if picture.is_anchor else self._anchor
        packets = self._packets.copy()
        self._clear()
        return packets

    def _clear(self) -> None:
        self._held.clear()
        self._packets.clear()
