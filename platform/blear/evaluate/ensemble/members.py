"""The members of an ensemble: arms of finished runs, their clips brought into one order."""

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
from blear.evaluate.pool import pooled
from blear.evaluate.predictions import class_names, read_predictions
from blear.evaluate.summary import read_summary
from blear.storage.run_folder import RunFolder

By = Literal["sample", "video"]
_SHOWN = 3


@dataclass(frozen=True)
class Member:
    """One arm of a run.

    Attributes:
        label: its name in the ensemble: the arm's, with the run's where two arms are called the same.
        split: what was tested.
        sha256: of the run's predictions table.
        table: one row for each decision, in the same order for all members.
        rows_N: rows with a found face that a decision is made of.
        probabilities_NK: their mean; zeros where no row has a found face.
    """

    label: str
    run: Path
    arm: str
    split: str
    sha256: str
    table: pa.Table
    rows_N: np.ndarray
    probabilities_NK: np.ndarray

    @property
    def record(self) -> dict[str, Any]:
        """For ensemble.json."""
        return {
            "label": self.label,
            "run": str(self.run),
            "arm": self.arm,
            "split": self.split,
            "predictions_sha256": self.sha256,
        }


def read_members(names: Sequence[str], by: By | None) -> list[Member]:
    """The members in the order of their names.

    Args:
        names: `RUN`, all arms of a run folder, or `RUN:ARM`.
        by: what one decision is; None: what the runs' own evaluations took.

    Raises:
        RunError: a run or an arm is missing, fewer than two members, or they differ in decisions, truth, classes,
            conditions, target or split.
    """
    chosen = [pair for name in names for pair in arms_of(name)]
    if len(chosen) < 2:
        raise RunError("an ensemble needs two members", names[0] if names else "", "give more runs, or a run of arms")
    if len(set(chosen)) < len(chosen):
        raise RunError("a member is named twice", ", ".join(names), "give each arm once")
    by = by or _agreed_by([run for run, _ in chosen])
    arms = [arm for _, arm in chosen]
    labels = [arm if arms.count(arm) == 1 else f"{run.name}/{arm}" for run, arm in chosen]
    if len(set(labels)) < len(labels):
        raise RunError("two runs have the same name and arm", ", ".join(names), "rename one of the run folders")
    members = [_member(run, arm, label, by) for (run, arm), label in zip(chosen, labels, strict=True)]
    return [members[0], *(_like(member, members[0]) for member in members[1:])]


def arms_of(name: str) -> list[tuple[Path, str]]:
    """(run folder, arm) of `RUN`, all its arms, or of `RUN:ARM`.

    Raises:
        RunError: no such run, or arm.
    """
    path, colon, arm = name.rpartition(":")
    if Path(name).is_dir() or not colon:
        path, arm = name, ""
    run = RunFolder.open(Path(path)).root.resolve()
    known = pc.unique(read_predictions(run / "predictions.parquet")["arm"]).to_pylist()
    if arm and arm not in known:
        raise RunError(f"the run has no arm {arm!r}", str(run), f"its arms: {', '.join(known)}")
    return [(run, each) for each in ([arm] if arm else known)]


def _agreed_by(runs: Sequence[Path]) -> By:
    pools = [read_summary(run / "summary.json").pool for run in runs]
    found: set[By] = {"sample" if pool is None else pool.by for pool in pools}
    if len(found) > 1:
        what = "some runs were evaluated by sample, some by video"
        raise RunError(what, ", ".join(map(str, runs)), "say what one decision is: --by video, or --by sample")
    return found.pop()


def _member(run: Path, arm: str, label: str, by: By) -> Member:
    file = run / "predictions.parquet"
    whole = read_predictions(file)
    table = whole.filter(pc.field("arm") == arm)
    target = table["target"][0].as_py()
    table = table.filter(pc.field("target") == target)
    classes = class_names(whole)
    if not classes:
        raise RunError(f"{target} is a value, no class", str(file), "give runs that name classes")
    decisions = _ordered(pooled(table, by, "sum_probabilities"))
    keys, rows = _keys(decisions), dict.fromkeys(_keys(decisions), 0)
    for key, found in zip(_keys(table, by), table["found"].to_pylist(), strict=True):
        rows[key] += bool(found)
    lists = decisions["probabilities"].to_pylist()
    probabilities_NK = np.array([[0.0] * len(classes) if one is None else one for one in lists])
    split = str(RunFolder(run).info.get("split", ""))
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    rows_N = np.array([rows[key] for key in keys])
    return Member(label, run, arm, split, digest, decisions, rows_N, probabilities_NK)


def _keys(table: pa.Table, by: str = "sample") -> list[tuple[str, float, str]]:
    return list(zip(*(table[name].to_pylist() for name in ("condition", "severity", by)), strict=True))


def _ordered(table: pa.Table) -> pa.Table:
    """Sorted by condition, severity and sample, so that members can be compared row by row."""
    return table.sort_by([("condition", "ascending"), ("severity", "ascending"), ("sample", "ascending")])


def _like(member: Member, first: Member) -> Member:
    """The member, if it answers the same questions as the first.

    Raises:
        RunError: it does not.
    """
    where = f"{member.run}, arm {member.arm}"
    names, others = class_names(first.table), class_names(member.table)
    if names != others:
        what = f"its classes are {', '.join(others)}, those of {first.label} are {', '.join(names)}"
        raise RunError(what, where, "fuse runs whose data name the same classes in the same order")
    target, other = (table["target"][0].as_py() for table in (first.table, member.table))
    if target != other:
        raise RunError(f"its target is {other!r}, that of {first.label} is {target!r}", where, "fuse like with like")
    if member.split != first.split:
        what = f"it was tested on {member.split or 'an unknown split'}, {first.label} on {first.split}"
        raise RunError(what, where, "evaluate all runs on the same split")
    ours, theirs = set(_keys(first.table)), set(_keys(member.table))
    if ours != theirs:
        odd = sorted(ours ^ theirs)
        shown = ", ".join(f"{sample} ({condition} {severity:g})" for condition, severity, sample in odd[:_SHOWN])
        what = f"{len(odd)} decisions are only in one of it and {first.label}: {shown}"
        raise RunError(what, where, "evaluate all runs on the same data and conditions")
    differ_N = np.flatnonzero(first.table["truth"].to_numpy() != member.table["truth"].to_numpy())
    if len(differ_N):
        sample = member.table["sample"][int(differ_N[0])].as_py()
        what = f"{len(differ_N)} decisions have another true class than in {first.label}: {sample}, ..."
        raise RunError(what, where, "evaluate all runs on the same data")
    return member
