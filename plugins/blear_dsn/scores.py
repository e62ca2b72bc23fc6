"""Writes the clip scores of a run as the score files of the DSN system's scripts (spec section 5).

    python -m blear_dsn.scores RUN [--out FOLDER] [--condition NAME] [--severity LEVEL]

Each arm has a file `pred_<split>_<arm>_video.txt` with one line for each clip, in the order of the evaluated list: the
sum of the probabilities of the clip's faces for each class, as merge_score.py reads them. A clip without a face has a
line of zeros, so that the lines of all files belong to the same clips. `clips.txt` names the clip of each line. An arm
that was trained with several seeds has one file for each, `pred_<split>_<arm>_seed<N>_video.txt`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from blear.errors import BlearError, DataError


def clip_scores(table: pa.Table, arm: str, seed: int) -> tuple[list[str], np.ndarray]:
    """Sums the probabilities of the faces of each clip.

    Args:
        table: rows of the predictions table at one level; a row is one face.
        arm: name of an arm.
        seed: training seed; sums over several trainings would not be scores of one network.

    Returns:
        Names of the clips in order of appearance, and sums float64 [clips, classes].

    Raises:
        DataError: the rows have no probabilities or no names of clips.
    """
    rows = table.filter((pc.field("arm") == arm) & (pc.field("seed") == seed))
    lists, names = rows["probabilities"].to_pylist(), rows["video"].to_pylist()
    classes = max((len(one) for one in lists if one is not None), default=0)
    if not classes or not all(names):
        what = f"the rows of the arm {arm!r} have no probabilities, or no names of clips"
        raise DataError(what, "predictions.parquet", "evaluate a classifier on dsn/face_list")
    sums: dict[str, np.ndarray] = {name: np.zeros(classes) for name in names}
    for name, probabilities, found in zip(names, lists, rows["found"].to_pylist(), strict=True):
        if found and probabilities is not None:
            sums[name] += probabilities
    return list(sums), np.stack(list(sums.values()))


def write_scores(run: Path, out: Path, condition: str | None = None, severity: float | None = None) -> list[Path]:
    """Writes the score files of every arm and training seed of a run; returns their paths.

    Args:
        run: folder of a finished run.
        out: folder of the files.
        condition: name of the condition; None: the first one.
        severity: level of the condition; None: the lowest one.

    Raises:
        DataError: the run has no predictions, or none at this level.
    """
    file = run / "predictions.parquet"
    if not file.is_file():
        raise DataError("no predictions", str(file), "give the folder of a finished run")
    table = pq.read_table(file)
    condition = table["condition"][0].as_py() if condition is None else condition
    table = table.filter(pc.field("condition") == condition)
    if severity is None and table.num_rows:
        severity = pc.min(table["severity"]).as_py()
    table = table.filter(pc.field("severity") == severity)
    if not table.num_rows:
        what = f"no predictions of the condition {condition!r} at {severity}"
        raise DataError(what, str(file), "name a condition and a level of the run's sweep")
    split = json.loads((run / "run.json").read_bytes()).get("split", "dev")
    out.mkdir(parents=True, exist_ok=True)
    files = []
    trained = dict.fromkeys(zip(table["arm"].to_pylist(), table["seed"].to_pylist(), strict=True))
    arms = [arm for arm, _ in trained]
    for arm, seed in trained:
        names, sums = clip_scores(table, arm, seed)
        name = re.sub(r"[^A-Za-z0-9]+", "_", arm).strip("_").lower() + (f"_seed{seed}" if arms.count(arm) > 1 else "")
        files.append(out / f"pred_{split}_{name}_video.txt")
        files[-1].write_text("".join("".join(f"{value!r} " for value in row) + "\n" for row in sums.tolist()))
        (out / "clips.txt").write_text("".join(f"{name}\n" for name in names))
    return files


@click.command(help=__doc__, context_settings={"max_content_width": 120})
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="folder of the files; default: RUN/scores")
@click.option("--condition", help="condition of the sweep; default: the first one")
@click.option("--severity", type=float, help="level of the condition; default: the lowest one")
def main(run: Path, out: Path | None, condition: str | None, severity: float | None) -> None:
    """Runs the command."""
    try:
        for file in write_scores(run, out or run / "scores", condition, severity):
            click.echo(str(file))
    except BlearError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
