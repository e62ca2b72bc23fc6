"""Reads the bit fields of a NAL unit's header."""

from __future__ import annotations


class BitReader:
    """Bit fields of a NAL unit of H.264 or HEVC, one after another.

    Args:
        unit: the unit, or its first bytes; emulation prevention bytes are left out.
    """

    def __init__(self, unit: bytes) -> None:
        content = unit.replace(b"\0\0\3", b"\0\0")
        self._bits, self._left = int.from_bytes(content, "big"), 8 * len(content)

    def bits(self, count: int) -> int:
        """An unsigned integer of `count` bits, the syntax element u(n).

        Raises:
            ValueError: the unit ends before.
        """
        self._left -= count
        if self._left < 0:
            raise ValueError("the unit ends before its header")
        return self._bits >> self._left & ((1 << count) - 1)

    def flag(self) -> bool:
        """One bit."""
        return self.bits(1) == 1

    def unsigned(self) -> int:
        """An Exp-Golomb code, the syntax element ue(v).

        Raises:
            ValueError: the unit ends before, or the number has more than 32 bits.
        """
        zeros = 0
        while not self.flag():
            zeros += 1
        if zeros > 32:
            raise ValueError("an Exp-Golomb code of more than 32 bits")
        return (1 << zeros) - 1 + self.bits(zeros)

    def skip_codes(self, count: int) -> None:
        """Skips Exp-Golomb codes, signed or unsigned ones."""
        for _ in range(count):
            self.unsigned()
