"""The tensors of a weight file."""

from __future__ import annotations

from torch import Tensor


class StateDict(dict[str, Tensor]):
    """Name -> tensor on the CPU, in the order of the file.

    Attributes:
        ignored: name -> reason, of entries of the file that are not tensors.
        reordered: names of the tensors whose rows and columns were transposed (see `matlab.from_matlab`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.ignored: dict[str, str] = {}
        self.reordered: list[str] = []
