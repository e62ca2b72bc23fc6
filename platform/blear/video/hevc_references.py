"""Which pictures an HEVC picture refers to, from the headers of its packet (ITU-T H.265, 7.3.6 and 8.3)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import av

from blear.video.bit_reader import BitReader
from blear.video.hevc_parameters import (
    PictureParameters,
    ReferenceSet,
    SequenceParameters,
    read_picture_parameters,
    read_reference_set,
    read_sequence_parameters,
)
from blear.video.nal_units import length_bytes, nal_units

_SEQUENCE, _PICTURE, _ENDS = 33, 34, (36, 37)  # types of NAL units
_SLICES = (*range(10), *range(16, 22))
_LEADING, _BROKEN_LINK, _IDR = range(6, 10), range(16, 19), (19, 20)
_RANDOM_ACCESS = 16  # and above
_HEADER_BYTES = 512

PictureId = tuple[int, int]
"""Number of the coded video sequence, and picture order count."""


@dataclass(frozen=True)
class CodedPicture:
    """A picture that is not decoded yet.

    Attributes:
        refers: pictures that it may refer to.
        keeps: pictures that later ones may refer to; no later picture refers to any other picture before this one.
        order_range: number of different values of the picture order count in a slice header.
        is_anchor: the picture order count of the next picture is coded as the difference from that of this one.
    """

    id: PictureId
    refers: frozenset[PictureId]
    keeps: frozenset[PictureId]
    order_range: int
    is_anchor: bool


class HevcReferences:
    """Reads the headers of the packets of one stream, all of them in the order of decoding."""

    def __init__(self, stream: av.VideoStream) -> None:
        self._length = length_bytes(stream)
        self._sequences: dict[int, SequenceParameters] = {}
        self._pictures: dict[int, PictureParameters] = {}
        self._sequence, self._anchor = 0, 0
        with contextlib.suppress(ValueError):  # packets that need the damaged part cannot be read then
            for unit in _units_of_extradata(stream.codec_context.extradata or b""):
                self._read_parameters(unit)

    def __call__(self, packet: av.Packet) -> CodedPicture | None:
        """The picture of a packet; None where its headers are damaged or cannot be read: it may refer to any picture.

        Pictures with long-term references cannot be read.
        """
        picture = None
        try:
            for unit in nal_units(bytes(packet), self._length):
                if len(unit) < 2 or unit[0] & 1 or unit[1] >> 3:  # a layer above the first one
                    continue
                kind = unit[0] >> 1 & 63
                self._read_parameters(unit)
                if kind in _ENDS:
                    self._sequence += 1
                    self._anchor = 0
                elif kind in _SLICES and unit[2:3] >= b"\x80":  # the first slice
                    if picture is not None:
                        return None  # two pictures
                    picture = self._read_slice(unit, kind)
        except (KeyError, IndexError, ValueError):
            return None
        return picture

    def _read_parameters(self, unit: bytes) -> None:
        kind = unit[0] >> 1 & 63
        if kind == _SEQUENCE:
            number, sequence = read_sequence_parameters(unit)
            self._sequences[number] = sequence
        elif kind == _PICTURE:
            number, picture = read_picture_parameters(unit)
            self._pictures[number] = picture

    def _read_slice(self, unit: bytes, kind: int) -> CodedPicture:
        reader = BitReader(unit[:_HEADER_BYTES])
        reader.bits(17)
        if kind >= _RANDOM_ACCESS:
            reader.bits(1)
        of_picture = self._pictures[reader.unsigned()]
        parameters = self._sequences[of_picture.sequence]
        reader.bits(of_picture.extra_bits)
        reader.unsigned()  # kind of slice
        reader.bits(of_picture.has_output_flag + 2 * parameters.separate_planes)
        order, references = 0, ReferenceSet()
        if kind in _IDR or kind in _BROKEN_LINK:
            self._sequence += 1
        if kind not in _IDR:
            order = reader.bits(parameters.order_bits)
            if kind not in _BROKEN_LINK:
                order = _whole_order(order, self._anchor, 1 << parameters.order_bits)
            references = _references(reader, parameters)
        sub_layer = (unit[1] & 7) - 1
        is_anchor = sub_layer == 0 and kind not in _LEADING and (kind > 14 or kind % 2 == 1)
        self._anchor = order if is_anchor else self._anchor
        ids = {(self._sequence, order + difference): is_used for difference, is_used in references}
        refers = frozenset(one for one, is_used in ids.items() if is_used)
        return CodedPicture((self._sequence, order), refers, frozenset(ids), 1 << parameters.order_bits, is_anchor)


def _whole_order(coded: int, anchor: int, values: int) -> int:
    """The picture order count, of which a slice header has the last bits (8.3.1)."""
    return anchor - ((anchor - coded + values // 2) % values - values // 2)


def _references(reader: BitReader, parameters: SequenceParameters) -> ReferenceSet:
    """The short-term reference picture set of a slice.

    Raises:
        ValueError: the slice has long-term reference pictures, or its header is damaged.
    """
    sets = parameters.sets
    if not reader.flag():
        references = read_reference_set(reader, sets, len(sets))
    else:
        references = sets[reader.bits((len(sets) - 1).bit_length())]
    if parameters.long_term is not None:
        count = reader.unsigned() if parameters.long_term else 0
        if count + reader.unsigned():
            raise ValueError("long-term reference pictures")
    return references


def _units_of_extradata(extradata: bytes) -> list[bytes]:
    """The NAL units of an HEVC configuration record (ISO/IEC 14496-15), or of Annex B; [] where it is damaged."""
    if extradata[:1] != b"\1":
        try:
            return list(nal_units(extradata, 0)) if extradata else []
        except ValueError:
            return []
    units, place = [], 23
    for _ in range(extradata[22] if len(extradata) > 22 else 0):
        count, place = int.from_bytes(extradata[place + 1 : place + 3], "big"), place + 3
        for _ in range(count):
            size, place = int.from_bytes(extradata[place : place + 2], "big"), place + 2
            units.append(extradata[place : place + size])
            place += size
    return [unit for unit in units if unit]
