"""Prints the table of docs/reproduce.md from runs of jobs/robust_ablations.yaml.

    python docs/make_ablations.py RUN... [--votes RUN...]

`--votes`: runs with the profile `votes`; their `recipe` is the arm `votes`.

Numbers of several seeds are means over the seeds. The 95 % intervals of the differences to the first arm come from
Student's t over the seeds, which covers the chance of training; with one seed, from a bootstrap over the faces.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.stats import t

RESAMPLES = 10_000
COLUMNS = ["arm", "seed", "sample", "condition", "target", "truth", "prediction"]


def main() -> None:
    """Prints one row for each arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--votes", type=Path, nargs="+", default=[])
    given = parser.parse_args()
    votes = [_read(run).query("arm == 'recipe'").assign(arm="votes") for run in given.votes]
    rows = pd.concat([*map(_read, given.runs), *votes])
    rows["right"] = (rows.truth == rows.prediction) * 100.0
    arms, conditions = list(rows.arm.unique()), list(rows.condition.unique())
    mean = rows.groupby(["arm", "condition", "sample"]).right.mean().unstack()  # over the seeds
    degraded = [name for name in conditions if name != "clean"]
    right_AN = np.stack([mean.loc[[(arm, name) for name in degraded]].mean().to_numpy() for arm in arms])
    clean_AN = np.stack([mean.loc[(arm, "clean")].to_numpy() for arm in arms])
    single = rows.groupby(["arm", "condition", "seed"]).right.mean().unstack()
    seeds_AS = [
        np.stack([single.loc[[(arm, name) for name in names]].mean().to_numpy() for arm in arms])
        for names in (["clean"], degraded)
    ]
    drawn = np.random.default_rng(0).multinomial(
        right_AN.shape[1], np.full(right_AN.shape[1], 1 / right_AN.shape[1]), RESAMPLES
    )
    lines = ["| arm | " + " | ".join(conditions) + " | clean, difference | degraded, difference |"]
    lines.append("| --- |" + " ---: |" * (len(conditions) + 2))
    for number, arm in enumerate(arms):
        cells = [f"{mean.loc[(arm, name)].mean():.1f}" for name in conditions]
        for values_AN, values_AS in zip((clean_AN, right_AN), seeds_AS, strict=True):
            difference_S = values_AS[number] - values_AS[0]
            if len(difference_S) > 1:
                half = t.ppf(0.975, len(difference_S) - 1) * difference_S.std(ddof=1) / len(difference_S) ** 0.5
                low, high = difference_S.mean() - half, difference_S.mean() + half
            else:
                difference_N = values_AN[number] - values_AN[0]
                low, high = np.percentile(drawn @ difference_N / len(difference_N), [2.5, 97.5])
            cell = f"{difference_S.mean():+.1f} [{low:+.1f}, {high:+.1f}]"
            cells.append(cell if number else "")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    seeds = ", ".join(map(str, sorted(rows.seed.unique())))
    sys.stdout.write("\n".join([*lines, "", f"{clean_AN.shape[1]} faces, seeds: {seeds}", ""]))


def _read(run: Path) -> pd.DataFrame:
    return pq.read_table(run / "predictions.parquet", columns=COLUMNS).to_pandas().query("target == 'emotion'")


if __name__ == "__main__":
    main()
