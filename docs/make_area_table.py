"""Prints the area under a run's CCC over the logarithm of the severity, for groups of runs that differ in their seed.

    python docs/make_area_table.py best=runs/best-1,runs/best-2,runs/best-3 even=runs/even-1,runs/even-2,runs/even-3

One row for each group, and one for the difference of the first group from each other one. Brackets: 95 % BCa
intervals of a bootstrap over people; the last column is the mean over the runs, and its interval has the same people
in all of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from blear.evaluate.statistics.bootstrap import draw_clusters
from blear.evaluate.statistics.bootstrap_estimate import BootstrapEstimate, mean, paired_difference

RESAMPLES = 1000


def area(run: Path) -> BootstrapEstimate:
    """The area of the first arm, divided by the range of the logarithm, with its resamples over people."""
    table = pq.read_table(run / "predictions.parquet").to_pandas()
    table = table[(table.arm == table.arm[0]) & (table.condition != "clean")]
    people = sorted(table.subject.unique())
    n = len(people)
    weights = np.stack([np.bincount(draw, minlength=n) for draw in draw_clusters(n, RESAMPLES, 0)])
    weights = np.concatenate([np.ones((1, n)), weights, 1 - np.eye(n)])
    severities = sorted(table.severity.unique())
    curves = np.stack([_ccc(table[table.severity == severity], people, weights) for severity in severities])
    logarithms = np.log(severities)
    areas = np.trapezoid(curves, logarithms, axis=0) / np.ptp(logarithms)
    return BootstrapEstimate(float(areas[0]), areas[1 : 1 + RESAMPLES], areas[1 + RESAMPLES :])


def _ccc(table: pd.DataFrame, people: list[str], weights_WN: np.ndarray) -> np.ndarray:
    """CCC of all frames, [W], where each person counts as often as its weight."""
    t, p = table.truth.to_numpy(), table.prediction.to_numpy()
    moments = pd.DataFrame({"n": np.ones(len(t)), "t": t, "p": p, "tt": t * t, "pp": p * p, "tp": t * p})
    sums = moments.groupby(table.subject.to_numpy()).sum().loc[people].to_numpy()
    n, t, p, tt, pp, tp = (weights_WN @ sums).T
    mean_t, mean_p = t / n, p / n
    return 2 * (tp / n - mean_t * mean_p) / (tt / n - mean_t**2 + pp / n - mean_p**2 + (mean_t - mean_p) ** 2)


def main() -> None:
    """Runs the command line."""
    groups = {}
    for argument in sys.argv[1:]:
        name, _, runs = argument.partition("=")
        groups[name] = [area(Path(run)) for run in runs.split(",")]
    first, *others = groups
    rows = {name: list(estimates) for name, estimates in groups.items()}
    for other in others:
        rows[f"{first} - {other}"] = [
            paired_difference(a, b) for a, b in zip(groups[first], groups[other], strict=True)
        ]
    for name, estimates in rows.items():
        sign = "+" if " - " in name else ""
        cells = []
        for estimate in [*estimates, mean(*estimates)]:
            low, high = estimate.interval() or (np.nan, np.nan)
            cells.append(f"{estimate.value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]")
        click.echo(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
