"""The parts of HEVC's parameter sets (ITU-T H.265, 7.3) that tell which pictures a picture refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blear.video.bit_reader import BitReader

_MOST_SETS, _MOST_PICTURES = 64, 16

ReferenceSet = tuple[tuple[int, bool], ...]
"""Pictures that stay in the decoder: difference in picture order count, and whether the current picture refers to it.
First the earlier pictures in the order of display, nearest first, then the later ones."""


@dataclass(frozen=True)
class SequenceParameters:
    """Fields of a sequence parameter set.

    Attributes:
        separate_planes: the colour planes are coded separately.
        order_bits: bits of the picture order count in a slice header.
        sets: short-term reference picture sets.
        long_term: number of candidates for long-term reference pictures; None: there are no long-term pictures.
    """

    separate_planes: bool
    order_bits: int
    sets: Sequence[ReferenceSet]
    long_term: int | None


@dataclass(frozen=True)
class PictureParameters:
    """Fields of a picture parameter set; `sequence`: number of its sequence parameter set."""

    sequence: int
    has_output_flag: bool
    extra_bits: int


def read_sequence_parameters(unit: bytes) -> tuple[int, SequenceParameters]:
    """Reads a sequence parameter set; returns its number and its fields.

    Raises:
        ValueError: the unit is damaged.
    """
    reader = BitReader(unit)
    reader.bits(16 + 4)
    sub_layers = reader.bits(3)
    reader.bits(1)
    _skip_profile(reader, sub_layers)
    number = reader.unsigned()
    separate_planes = reader.unsigned() == 3 and reader.flag()
    reader.skip_codes(2)  # size
    if reader.flag():
        reader.skip_codes(4)  # conformance window
    reader.skip_codes(2)  # bit depths
    order_bits = reader.unsigned() + 4
    for _ in range(sub_layers + 1 if reader.flag() else 1):
        reader.skip_codes(3)
    reader.skip_codes(6)  # sizes of blocks
    if reader.flag() and reader.flag():
        _skip_scaling_lists(reader)
    reader.bits(2)
    if reader.flag():  # PCM
        reader.bits(8)
        reader.skip_codes(2)
        reader.bits(1)
    count = reader.unsigned()
    if count > _MOST_SETS or order_bits > 16:
        raise ValueError("the sequence parameter set is damaged")
    sets: list[ReferenceSet] = []
    for _ in range(count):
        sets.append(read_reference_set(reader, sets, count))
    return number, SequenceParameters(separate_planes, order_bits, sets, reader.unsigned() if reader.flag() else None)


def read_picture_parameters(unit: bytes) -> tuple[int, PictureParameters]:
    """Reads a picture parameter set; returns its number and its fields.

    Raises:
        ValueError: the unit is damaged.
    """
    reader = BitReader(unit)
    reader.bits(16)
    number, sequence = reader.unsigned(), reader.unsigned()
    reader.bits(1)
    return number, PictureParameters(sequence, reader.flag(), reader.bits(3))


def read_reference_set(reader: BitReader, known: Sequence[ReferenceSet], count: int) -> ReferenceSet:
    """Reads a short-term reference picture set (7.3.7, 7.4.8).

    Args:
        known: the sets of the sequence parameter set that were read before.
        count: number of sets in the sequence parameter set; a slice header has one more.

    Raises:
        ValueError: the unit is damaged.
    """
    if known and reader.flag():
        return _predicted(reader, known, reader.unsigned() + 1 if len(known) == count else 1)
    earlier, later = reader.unsigned(), reader.unsigned()
    if earlier + later > _MOST_PICTURES:
        raise ValueError("a reference picture set is damaged")
    pictures: list[tuple[int, bool]] = []
    for sign, number in ((-1, earlier), (1, later)):
        order = 0
        for _ in range(number):
            order += sign * (reader.unsigned() + 1)
            pictures.append((order, reader.flag()))
    return tuple(pictures)


def _predicted(reader: BitReader, known: Sequence[ReferenceSet], back: int) -> ReferenceSet:
    """A set that is coded as the difference from an earlier one."""
    if back > len(known):
        raise ValueError("a reference picture set is damaged")
    base = known[-back]
    sign = -1 if reader.flag() else 1
    shift = sign * (reader.unsigned() + 1)
    moved: dict[int, bool] = {}
    for order in [*(order for order, _ in base), 0]:
        is_used = reader.flag()
        if is_used or reader.flag():
            moved[order + shift] = is_used
    earlier = sorted((one for one in moved.items() if one[0] < 0), reverse=True)
    return (*earlier, *sorted(one for one in moved.items() if one[0] > 0))


def _skip_profile(reader: BitReader, sub_layers: int) -> None:
    reader.bits(96)
    present = [(reader.flag(), reader.flag()) for _ in range(sub_layers)]
    reader.bits(2 * (8 - sub_layers) if sub_layers else 0)
    for has_profile, has_level in present:
        reader.bits(88 * has_profile + 8 * has_level)


def _skip_scaling_lists(reader: BitReader) -> None:
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if reader.flag():
                reader.skip_codes((size > 1) + min(64, 16 << 2 * size))
            else:
                reader.skip_codes(1)
