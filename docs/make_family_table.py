"""Prints the mean of a run's metric over the conditions of each family, as a Markdown table of docs/reproduce.md.

    python docs/make_family_table.py RUN

A family is the value of `group: {family: ...}` of a sweep. Brackets: 95 % BCa intervals of a bootstrap over people;
the star: an exact permutation test over people against the first arm is below 5 % after Holm's correction over all
cells.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import click
import numpy as np
import pyarrow.parquet as pq

from blear.evaluate.statistics.bootstrap import draw_clusters
from blear.evaluate.statistics.bootstrap_estimate import bca
from blear.evaluate.statistics.paired_tests import holm_correction, permutation_p_value
from blear.job.reader import read_job

CLEAN, RESAMPLES = "clean", 1000


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    job, _ = read_job(run / "job.yaml")
    family = {label: sweep.group["family"] for label, sweep in job.evaluate.sweeps.items()} | {CLEAN: CLEAN}
    table = pq.read_table(run / "predictions.parquet").to_pandas()
    table["correct"] = table.truth == table.prediction
    table["family"] = table.condition.map(family)
    arms = list(job.evaluate.arms)
    families = [CLEAN, *dict.fromkeys(name for name in family.values() if name != CLEAN)]
    levels = table.groupby(["arm", "family", "subject", "condition", "severity"], observed=True).correct.mean()
    by_person = levels.groupby(["arm", "family", "subject"], observed=True).mean()  # each person has equally many faces
    share = {(arm, name): by_person[arm][name].to_numpy() for arm, name in product(arms, families)}
    people = len(share[arms[0], CLEAN])
    draws = draw_clusters(people, RESAMPLES, 0)
    signs = np.array(list(product((1, -1), repeat=people)))
    tested = list(product(arms[1:], families))
    p_values = []
    for arm, name in tested:
        difference = share[arm, name] - share[arms[0], name]
        p_values.append(permutation_p_value(float(difference.mean()), signs @ difference / people, exact=True) or 1.0)
    significant = {cell for cell, p in zip(tested, holm_correction(p_values), strict=True) if p < 0.05}
    click.echo(f"| arm | {' | '.join(families)} |")
    click.echo(f"| --- | {' | '.join('---:' for _ in families)} |")
    for arm in arms:
        cells = []
        for name in families:
            values = share[arm, name]
            without = (values.sum() - values) / (people - 1)
            low, high = bca(float(values.mean()), values[draws].mean(axis=1), without) or (np.nan, np.nan)
            star = r"\*" if (arm, name) in significant else ""
            cells.append(f"{values.mean():.3f}{star} [{low:.3f}, {high:.3f}]")
        click.echo(f"| {arm} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
