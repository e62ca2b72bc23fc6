"""Confusion matrices from the predictions table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.predictions import class_names
from blear.metrics import confusion


@dataclass(frozen=True)
class Confusion:
    """Decisions of one arm at one condition, counted.

    Attributes:
        counts_KK: row = true class, column = said class; of decisions with a found face.
        missed_K: decisions without one, by true class.
    """

    classes: tuple[str, ...]
    counts_KK: np.ndarray
    missed_K: np.ndarray

    @property
    def total_K(self) -> np.ndarray:
        """Decisions of each true class, those without a found face included."""
        return self.counts_KK.sum(axis=1) + self.missed_K

    @property
    def shares_KK(self) -> np.ndarray:
        """Shares of each true class, float64; a row sums to 1 less what was missed, and is NaN for an absent class."""
        total_K1 = self.total_K[:, None].astype(np.float64)
        return np.divide(self.counts_KK, total_K1, out=np.full(self.counts_KK.shape, np.nan), where=total_K1 > 0)


def confusion_of(decisions: pa.Table, arm: str, condition: str, severity: float) -> Confusion:
    """The confusion matrix of one cell of the evaluation.

    Args:
        decisions: rows of one target that is a class, as `read_predictions` or `pooled` gives them.

    Raises:
        ValueError: the target is a value.
    """
    classes = class_names(decisions)
    if not classes:
        raise ValueError("a target of values has no confusion matrix")
    cell = (pc.field("arm") == arm) & (pc.field("condition") == condition) & (pc.field("severity") == severity)
    table = decisions.filter(cell)
    found = table.filter(pc.field("found"))
    missed = table.filter(~pc.field("found"))["truth"].to_numpy().astype(np.int64)
    counts_KK = confusion(found["truth"].to_numpy(), found["prediction"].to_numpy(), len(classes))
    return Confusion(classes, counts_KK, np.bincount(missed, minlength=len(classes)))
