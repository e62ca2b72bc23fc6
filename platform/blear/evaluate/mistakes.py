"""The worst mistakes of an arm: its most confident wrong classes; for a regression target, its largest errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.predictions import class_names

MAX_MISTAKES = 6
"""Number of mistakes of each arm in the report: as many on clean frames, and as many on degraded frames."""


@dataclass(frozen=True)
class Mistake:
    """One wrong decision.

    Attributes:
        truth, prediction: class indices, or values of a regression target.
        error: the probability of the predicted class, or the absolute error; mistakes are ranked by it.
        truth_probability: the predicted probability of the true class; None for a regression target.
    """

    arm: str
    sample: str
    condition: str
    severity: float
    truth: float
    prediction: float
    error: float
    truth_probability: float | None


def worst_mistakes(decisions: pa.Table, arm: str, most: int) -> list[Mistake]:
    """Returns the worst mistakes of an arm, one for each sample, the worst first; ties in the order of the table.

    Args:
        decisions: rows of one target, from `read_predictions` or `pool_predictions`. Rows without a found face are
            ignored.
        most: the largest number of mistakes.
    """
    table = decisions.filter((pc.field("arm") == arm) & pc.field("found"))
    truth_N, prediction_N = table["truth"].to_numpy(), table["prediction"].to_numpy()
    classes = len(class_names(decisions))
    if classes:
        flat = table["probabilities"].combine_chunks().flatten().to_numpy().reshape(-1, classes)
        error_N = np.where(truth_N != prediction_N, flat[np.arange(len(flat)), prediction_N.astype(int)], -1.0)
        truth_probability_N = flat[np.arange(len(flat)), truth_N.astype(int)]
    else:
        error_N, truth_probability_N = np.abs(truth_N - prediction_N), None
    chosen: dict[str, Mistake] = {}
    for row in np.argsort(-error_N, kind="stable").tolist():
        if len(chosen) == most or error_N[row] <= 0:
            break
        sample = table["sample"][row].as_py()
        if sample not in chosen:
            chosen[sample] = Mistake(
                arm,
                sample,
                table["condition"][row].as_py(),
                table["severity"][row].as_py(),
                float(truth_N[row]),
                float(prediction_N[row]),
                float(error_N[row]),
                None if truth_probability_N is None else float(truth_probability_N[row]),
            )
    return list(chosen.values())


def worst_mistakes_by_arm(
    decisions: pa.Table, clean: tuple[str, float], most: int
) -> dict[str, tuple[list[Mistake], ...]]:
    """Returns arm -> (its worst mistakes on clean frames, its worst mistakes under all other conditions).

    Args:
        decisions: as in `worst_mistakes`.
        clean: (condition, severity) of the frames that count as clean.
        most: the largest number of mistakes in each list.
    """
    here = (pc.field("condition") == clean[0]) & (pc.field("severity") == clean[1])
    parts = decisions.filter(here), decisions.filter(~here)
    arms = pc.unique(decisions["arm"]).to_pylist()
    return {arm: tuple(worst_mistakes(part, arm, most) for part in parts) for arm in arms}
