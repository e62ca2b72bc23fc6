"""What a file of weights holds."""

from __future__ import annotations

from torch import Tensor


class Weights(dict[str, Tensor]):
    """Name -> tensor on the CPU, in the order of the file.

    Attributes:
        ignored: name -> why, of what is in the file and is no tensor.
        reordered: names of the tensors whose rows and columns were exchanged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ignored: dict[str, str] = {}
        self.reordered: list[str] = []
