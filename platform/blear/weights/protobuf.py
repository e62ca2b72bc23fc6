"""Reads the wire format of protocol buffers: the fields of one message.

A nested message is returned as bytes; the caller reads its fields by another call. The nesting depth is therefore
limited by the caller, not by the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT = 10  # bytes of a 64-bit number, 7 bits in each


class ProtobufError(ValueError):
    """The bytes are not a valid message."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: field number.
        kind: wire type: `VARINT`, `FIXED64`, `BYTES` or `FIXED32`.
        value: the number of a varint, else the bytes of the value.
    """

    number: int
    kind: int
    value: int | memoryview

    def bytes(self) -> memoryview:
        """The value of a field that holds bytes, text or a message.

        Raises:
            ProtobufError: the field is a number.
        """
        if isinstance(self.value, int) or self.kind != BYTES:
            raise ProtobufError(f"field {self.number} is a number, expected bytes")
        return self.value

    def text(self) -> str:
        """The value of a field that holds text.

        Raises:
            ProtobufError: the field is a number, or not UTF-8.
        """
        try:
            return str(self.bytes(), "utf-8")
        except UnicodeDecodeError as error:
            raise ProtobufError(f"field {self.number} is not text") from error

    def integers(self, most: int) -> list[int]:
        """The value of a field that holds one int64, or a packed list of at most `most`.

        Raises:
            ProtobufError: the field holds something else, or more numbers.
        """
        if isinstance(self.value, int):
            return [_signed(self.value)]
        data, at = self.bytes(), 0
        numbers: list[int] = []
        while at < len(data):
            if len(numbers) == most:
                raise ProtobufError(f"field {self.number} has more than {most} numbers")
            number, at = _varint(data, at)
            numbers.append(_signed(number))
        return numbers

    def floats(self, size: int) -> memoryview:
        """The bytes of one floating-point number, or of a packed list, each of `size` bytes.

        Raises:
            ProtobufError: the field holds no numbers of this size.
        """
        if isinstance(self.value, int) or self.kind not in (BYTES, FIXED32 if size == 4 else FIXED64):
            raise ProtobufError(f"field {self.number} holds no numbers of {size} bytes")
        if len(self.value) % size:
            raise ProtobufError(f"field {self.number} has {len(self.value)} bytes, no multiple of {size}")
        return self.value


def read_fields(data: memoryview) -> Iterator[Field]:
    """Yields the fields of a message in order.

    Raises:
        ProtobufError: raised during iteration where the bytes are not a valid message.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ProtobufError(f"a field number {number} at byte {at}")
        if kind == VARINT:
            value, at = _varint(data, at)
            yield Field(number, kind, value)
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ProtobufError(f"field {number} of kind {kind} at byte {at}")
        if size > len(data) - at:
            raise ProtobufError(f"field {number} of {size} bytes at byte {at}, where {len(data) - at} are left")
        yield Field(number, kind, data[at : at + size])
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned number, and the position after it."""
    number = 0
    for count, byte in enumerate(data[at : at + _MAX_VARINT]):
        number |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return number & (1 << 64) - 1, at + count + 1
    raise ProtobufError(f"a number that does not end at byte {at}")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
