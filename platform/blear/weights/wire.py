"""The wire format of protocol buffers: the fields of one message, none of which is opened by itself.

A message inside a message is bytes until its own fields are asked for, so depth is that of the code that asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_MOST_VARINT = 10  # bytes of 64 bits, seven in each


class WireError(ValueError):
    """Bytes that are no message."""


class Field(NamedTuple):
    """One field as it comes: `value` is the number of a varint, else the bytes themselves."""

    number: int
    kind: int
    value: int | memoryview

    def bytes(self) -> memoryview:
        """The value of a field of bytes, text or a message.

        Raises:
            WireError: it is a number.
        """
        if isinstance(self.value, int) or self.kind != BYTES:
            raise WireError(f"field {self.number} is a number, expected bytes")
        return self.value

    def text(self) -> str:
        """The value of a field of text.

        Raises:
            WireError: it is a number, or not UTF-8.
        """
        try:
            return str(self.bytes(), "utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"field {self.number} is not text") from error

    def integers(self, most: int) -> list[int]:
        """One int64, or a packed list of at most so many.

        Raises:
            WireError: neither, or more.
        """
        if isinstance(self.value, int):
            return [_signed(self.value)]
        data, at = self.bytes(), 0
        found: list[int] = []
        while at < len(data):
            if len(found) == most:
                raise WireError(f"field {self.number} has more than {most} numbers")
            number, at = _varint(data, at)
            found.append(_signed(number))
        return found

    def floats(self, size: int) -> memoryview:
        """The bytes of one number or of a packed list of them, each of `size` bytes.

        Raises:
            WireError: the bytes are no numbers of this size.
        """
        if isinstance(self.value, int) or self.kind not in (BYTES, FIXED32 if size == 4 else FIXED64):
            raise WireError(f"field {self.number} holds no numbers of {size} bytes")
        if len(self.value) % size:
            raise WireError(f"field {self.number} has {len(self.value)} bytes, no multiple of {size}")
        return self.value


def fields(data: memoryview) -> Iterator[Field]:
    """The fields of a message, in their order.

    Raises:
        WireError: while iterating: the bytes are no message.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise WireError(f"a field number {number} at byte {at}")
        if kind == VARINT:
            value, at = _varint(data, at)
            yield Field(number, kind, value)
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise WireError(f"field {number} of kind {kind} at byte {at}")
        if size > len(data) - at:
            raise WireError(f"field {number} of {size} bytes at byte {at}, where {len(data) - at} are left")
        yield Field(number, kind, data[at : at + size])
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned number and the place behind it."""
    number = 0
    for count, byte in enumerate(data[at : at + _MOST_VARINT]):
        number |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return number & (1 << 64) - 1, at + count + 1
    raise WireError(f"a number that does not end at byte {at}")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
