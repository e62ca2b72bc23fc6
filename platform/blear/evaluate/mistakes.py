"""The worst mistakes: what an arm was most certain of and yet got wrong; of values, the largest errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.predictions import class_names

MOST = 6
"""Mistakes of each arm that a report shows on clean frames, and as many on degraded ones."""


@dataclass(frozen=True)
class Mistake:
    """One wrong decision.

    Attributes:
        badness: what it is ranked by: the probability of the wrong class, or the absolute error.
        given: the probability that the true class was given; None for values.
    """

    arm: str
    sample: str
    condition: str
    severity: float
    truth: float
    prediction: float
    badness: float
    given: float | None


def worst_mistakes(decisions: pa.Table, arm: str, most: int) -> list[Mistake]:
    """The worst mistakes of an arm, each of another sample, the worst first; equal ones in the table's order.

    Args:
        decisions: rows of one target, as `read_predictions` or `pooled` gives them; those without a found face, which
            were not decided, do not count.
        most: how many at most.
    """
    table = decisions.filter((pc.field("arm") == arm) & pc.field("found"))
    truth_N, prediction_N = table["truth"].to_numpy(), table["prediction"].to_numpy()
    classes = len(class_names(decisions))
    if classes:
        flat = table["probabilities"].combine_chunks().flatten().to_numpy().reshape(-1, classes)
        badness_N = np.where(truth_N != prediction_N, flat[np.arange(len(flat)), prediction_N.astype(int)], -1.0)
        given_N = flat[np.arange(len(flat)), truth_N.astype(int)]
    else:
        badness_N, given_N = np.abs(truth_N - prediction_N), None
    chosen: dict[str, Mistake] = {}
    for row in np.argsort(-badness_N, kind="stable").tolist():
        if len(chosen) == most or badness_N[row] <= 0:
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
                float(badness_N[row]),
                None if given_N is None else float(given_N[row]),
            )
    return list(chosen.values())


def chosen_mistakes(decisions: pa.Table, clean: tuple[str, float], most: int) -> dict[str, tuple[list[Mistake], ...]]:
    """Arm -> its worst mistakes on clean frames, and its worst ones under all other conditions.

    Args:
        clean: (condition, severity) of the frames that count as clean.
    """
    here = (pc.field("condition") == clean[0]) & (pc.field("severity") == clean[1])
    parts = decisions.filter(here), decisions.filter(~here)
    arms = pc.unique(decisions["arm"]).to_pylist()
    return {arm: tuple(worst_mistakes(part, arm, most) for part in parts) for arm in arms}
