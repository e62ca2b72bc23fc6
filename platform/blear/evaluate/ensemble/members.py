"""Members of an ensemble: arms of finished runs, with their decisions in the same order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.errors import RunError
from blear.evaluate.pool import pool_predictions
from blear.evaluate.predictions import class_names, read_predictions
from blear.evaluate.statistics.prediction_groups import ClusterKind
from blear.evaluate.summary import read_summary
from blear.storage.run_folder import RunFolder

DecisionUnit = Literal["sample", "video"]
_MAX_LISTED = 3


@dataclass(frozen=True)
class Member:
    """One arm of a run.

    Attributes:
        label: name in the ensemble: the arm's name, with the run's name in front where two arms have the same name.
        split: the evaluated split.
        cluster: the unit of resampling that the run's job names; None: none.
        sha256: digest of the run's predictions table.
        table: one row for each decision, in the same order for all members.
        rows_N: number of rows with a found face of each decision.
        probabilities_NK: mean probabilities of these rows; zeros where no row has a found face.
    """

    label: str
    run: Path
    arm: str
    split: str
    cluster: ClusterKind | None
    sha256: str
    table: pa.Table
    rows_N: np.ndarray
    probabilities_NK: np.ndarray

    @property
    def record(self) -> dict[str, Any]:
        """The entry of ensemble.json."""
        return {
            "label": self.label,
            "run": str(self.run),
            "arm": self.arm,
            "split": self.split,
            "predictions_sha256": self.sha256,
        }


def read_members(names: Sequence[str], by: DecisionUnit | None) -> list[Member]:
    """Reads the members, in the order of `names`.

    Args:
        names: `RUN` for all arms of a run folder, or `RUN:ARM`.
        by: what one decision is; None: as in the evaluations of the runs.

    Raises:
        RunError: a run or an arm is missing, there are fewer than two members, or the members differ in decisions,
            truth, classes, conditions, target or split.
    """
    chosen = [pair for name in names for pair in parse_arms(name)]
    if len(chosen) < 2:
        raise RunError("an ensemble needs two members", names[0] if names else "", "give more runs, or a run of arms")
    if len(set(chosen)) < len(chosen):
        raise RunError("a member is given twice", ", ".join(names), "give each arm once")
    by = by or _common_unit([run for run, _ in chosen])
    arms = [arm for _, arm in chosen]
    labels = [arm if arms.count(arm) == 1 else f"{run.name}/{arm}" for run, arm in chosen]
    if len(set(labels)) < len(labels):
        raise RunError("two runs have the same name and arm", ", ".join(names), "rename one of the run folders")
    members = [_member(run, arm, label, by) for (run, arm), label in zip(chosen, labels, strict=True)]
    return [members[0], *(_require_compatible(member, members[0]) for member in members[1:])]


def parse_arms(name: str) -> list[tuple[Path, str]]:
    """Returns the (run folder, arm) pairs of `RUN` (all its arms) or of `RUN:ARM`. The folder of a card is a run, too.

    Raises:
        RunError: the run or the arm does not exist.
    """
    path, colon, arm = name.rpartition(":")
    if Path(name).is_dir() or not colon:
        path, arm = name, ""
    is_card = (Path(path) / "card.md").is_file()  # the folder of `blear card` has no job
    run = (Path(path) if is_card else RunFolder.open(Path(path)).root).resolve()
    known = pc.unique(read_predictions(run / "predictions.parquet")["arm"]).to_pylist()
    if arm and arm not in known:
        raise RunError(f"the run has no arm {arm!r}", str(run), f"its arms: {', '.join(known)}")
    return [(run, each) for each in ([arm] if arm else known)]


def _common_unit(runs: Sequence[Path]) -> DecisionUnit:
    pools = [read_summary(run / "summary.json").pool for run in runs]
    found: set[DecisionUnit] = {"sample" if pool is None else pool.by for pool in pools}
    if len(found) > 1:
        what = "some runs were evaluated by sample, others by video"
        raise RunError(what, ", ".join(map(str, runs)), "give --by video or --by sample")
    return found.pop()


def _member(run: Path, arm: str, label: str, by: DecisionUnit) -> Member:
    file = run / "predictions.parquet"
    whole = read_predictions(file)
    table = whole.filter(pc.field("arm") == arm)
    target = table["target"][0].as_py()
    table = table.filter(pc.field("target") == target)
    if len(seeds := pc.unique(table["seed"]).to_pylist()) > 1:
        what = f"the arm {arm!r} has {len(seeds)} training seeds"
        raise RunError(what, str(file), "evaluate a job with one of the seeds, and fuse that run")
    classes = class_names(table)
    if not classes:
        raise RunError(f"{target} is a regression target", str(file), "give runs of a target with classes")
    decisions = _ordered(pool_predictions(table, by, "sum_probabilities"))
    keys, rows = _keys(decisions), dict.fromkeys(_keys(decisions), 0)
    for key, found in zip(_keys(table, by), table["found"].to_pylist(), strict=True):
        rows[key] += bool(found)
    lists = decisions["probabilities"].to_pylist()
    probabilities_NK = np.array([[0.0] * len(classes) if one is None else one for one in lists])
    info = RunFolder(run).info
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    rows_N = np.array([rows[key] for key in keys])
    return Member(
        label, run, arm, str(info.get("split", "")), info.get("cluster"), digest, decisions, rows_N, probabilities_NK
    )


def _keys(table: pa.Table, by: str = "sample") -> list[tuple[str, float, str]]:
    return list(zip(*(table[name].to_pylist() for name in ("condition", "severity", by)), strict=True))


def _ordered(table: pa.Table) -> pa.Table:
    """Sorts by condition, severity and sample, so that the rows of all members match."""
    return table.sort_by([("condition", "ascending"), ("severity", "ascending"), ("sample", "ascending")])


def _require_compatible(member: Member, first: Member) -> Member:
    """Checks that a member has the same classes, target, split, cluster unit, decisions and truths as the first one.

    Raises:
        RunError: the member differs.
    """
    where = f"{member.run}, arm {member.arm}"
    names, others = class_names(first.table), class_names(member.table)
    if names != others:
        what = f"its classes are {', '.join(others)}, those of {first.label} are {', '.join(names)}"
        raise RunError(what, where, "fuse runs whose data has the same classes in the same order")
    target, other = (table["target"][0].as_py() for table in (first.table, member.table))
    if target != other:
        raise RunError(
            f"its target is {other!r}, that of {first.label} is {target!r}", where, "fuse runs of the same target"
        )
    if member.split != first.split:
        what = f"it was evaluated on {member.split or 'an unknown split'}, {first.label} on {first.split}"
        raise RunError(what, where, "evaluate all runs on the same split")
    if member.cluster != first.cluster:
        what = f"its evaluate.cluster is {member.cluster}, that of {first.label} is {first.cluster}"
        raise RunError(what, where, "evaluate all runs with the same unit")
    ours, theirs = set(_keys(first.table)), set(_keys(member.table))
    if ours != theirs:
        odd = sorted(ours ^ theirs)
        shown = ", ".join(f"{sample} ({condition} {severity:g})" for condition, severity, sample in odd[:_MAX_LISTED])
        what = f"{len(odd)} decisions are only in one of it and {first.label}: {shown}"
        raise RunError(what, where, "evaluate all runs on the same data and conditions")
    differ_N = np.flatnonzero(first.table["truth"].to_numpy() != member.table["truth"].to_numpy())
    if len(differ_N):
        sample = member.table["sample"][int(differ_N[0])].as_py()
        what = f"{len(differ_N)} decisions have another true class than in {first.label}: {sample}, ..."
        raise RunError(what, where, "evaluate all runs on the same data")
    return member
