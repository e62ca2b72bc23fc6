"""Counts predictions whose whole probability lies on classes of the model that `--labels` leaves out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blear.card.labels import LabelMap
from blear.errors import RunError


@dataclass
class UncoveredCounter:
    """Counter of one model. An uncovered prediction gets even probabilities, so its decision is the first class.

    Attributes:
        label: name of the model on the card.
        labels: from the model's classes to those of the data.
        total: number of predictions so far.
        uncovered: number of those without any probability on the data's classes.
    """

    label: str
    labels: LabelMap
    total: int = 0
    uncovered: int = 0

    def add(self, covered_N: np.ndarray) -> None:
        """Counts predictions; `covered_N` is `LabelMap.covers` of their probabilities."""
        self.total += len(covered_N)
        self.uncovered += int((~covered_N).sum())

    def require_most_covered(self) -> None:
        """Checks the predictions so far, after each condition.

        Raises:
            RunError: more than half of the predictions are uncovered.
        """
        if 2 * self.uncovered > self.total:
            do = f"match these classes with classes of the data: --labels {self.labels.left_out[0]}=CLASS"
            raise RunError(self._text(), self.label, f"{do}; or leave the model out of the card")

    @property
    def warning(self) -> str:
        """The number of uncovered predictions in words; empty where there are none."""
        if not self.uncovered:
            return ""
        return f"{self.label}: {self._text()}; they have even probabilities, and count as decisions for the first class"

    def _text(self) -> str:
        left_out = ", ".join(self.labels.left_out)
        return (
            f"{self.uncovered:,} of {self.total:,} predictions have no probability outside the classes that --labels "
            f"leaves out ({left_out})"
        )
