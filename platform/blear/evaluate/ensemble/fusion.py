"""Fuses the predictions of several runs or arms: weighted sums of the probabilities of each clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from blear.errors import RunError
from blear.evaluate.ensemble.members import DecisionUnit, Member, read_members
from blear.evaluate.ensemble.weights import GRID_STEPS, MAX_MEMBERS, cross_validated_fusion, fuse, search_weights
from blear.evaluate.markdown import escaped, format_number
from blear.evaluate.predictions import PRIORS_KEY, SCHEMA, write_predictions
from blear.evaluate.statistics.prediction_groups import choose_cluster_kind
from blear.evaluate.summarise import summarise
from blear.evaluate.summary import Summary
from blear.metrics import CLASSIFICATION
from blear.storage.run_folder import write_text

MemberScore = Literal["mean", "sum"]
FUSED = "fused"
CROSS_VALIDATED = "fused (cross-validated)"
_FOLDS = 5
_TEST = "test"


@dataclass(frozen=True)
class _Weighting:
    """Weights [M] of the members, the source of the weights, and the reported fused probabilities [N, K]."""

    weights_M: np.ndarray
    source: str
    arm: str
    probabilities_NK: np.ndarray
    folds: int | None = None


def fuse_runs(
    runs: Sequence[str],
    out: Path,
    *,
    weights: str = "equal",
    score: MemberScore = "mean",
    by: DecisionUnit | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> str:
    """Fuses arms of runs and writes predictions.parquet, summary.json and ensemble.json to `out`.

    Weights can be searched on any split but the test split. The result of a search is cross-validated: the weights of
    each clip come from the other folds. ensemble.json has the weights of all folds together; a second call with
    `weights=out` applies them to the test split.

    Args:
        runs: `RUN` for all arms of a run folder, or `RUN:ARM`. The first member is the reference of the summary.
        out: the folder to write.
        weights: `equal`; `search`; one number for each member, for example `1,0.5,2`; or the folder of an earlier
            ensemble.
        score: score of a member for a clip: the `mean` or the `sum` of its probabilities over rows with a found face.
        by: what one decision is; None: as in the evaluations of the runs.
        seed: of the folds and of the bootstrap.
        resamples: number of bootstrap resamples.

    Returns:
        The summary as a Markdown table.

    Raises:
        RunError: the members are incompatible (`read_members`), the weights do not match the members, the weights would
            be searched on the test split, or `out` is a run folder.
    """
    if (out / "job.yaml").exists():
        raise RunError("this is a run folder", str(out), "give another --out")
    members = read_members(runs, by)
    if taken := {FUSED, CROSS_VALIDATED} & {member.label for member in members}:
        raise RunError(f"an arm is called {taken.pop()!r}", ", ".join(runs), "rename this arm in its job")
    scores_MNK = np.stack([m.probabilities_NK * (m.rows_N[:, None] if score == "sum" else 1) for m in members])
    weighting = _choose_weights(members, scores_MNK, weights, score, seed)
    tables = [_named(member.table, member.label) for member in members]
    table = _without_priors(pa.concat_tables([*tables, _fused(members, weighting)]))
    summary = summarise(
        table, CLASSIFICATION, reference=members[0].label, seed=seed, resamples=resamples, cluster=members[0].cluster
    )
    record = {
        "members": [m.record | {"weight": w} for m, w in zip(members, weighting.weights_M.tolist(), strict=True)],
        "weights": weighting.source,
        "reported": weighting.arm,
        "folds": weighting.folds,
        "score": score,
        "seed": seed,
    }
    write_predictions(out / "predictions.parquet", [table.select(SCHEMA.names)])
    write_text(out / "summary.json", summary.model_dump_json(indent=1))
    write_text(out / "ensemble.json", json.dumps(record, indent=1))
    return _as_markdown(summary, members, weighting)


def _choose_weights(
    members: Sequence[Member], scores_MNK: np.ndarray, weights: str, score: str, seed: int
) -> _Weighting:
    if weights == "search":
        return _searched(members, scores_MNK, seed)
    if weights == "equal":
        weights_M, source = np.full(len(members), 1 / len(members)), "equal"
    elif Path(weights).is_dir():
        weights_M, source = _saved(members, Path(weights), score), f"of {Path(weights).resolve()}"
    else:
        weights_M, source = _given(members, weights), "given"
    return _Weighting(weights_M, source, FUSED, fuse(scores_MNK, weights_M))


def _searched(members: Sequence[Member], scores_MNK: np.ndarray, seed: int) -> _Weighting:
    first = members[0]
    if first.split in (_TEST, ""):
        do = "search with runs on the validation split, then give the folder of that ensemble as --weights here"
        raise RunError(f"weights cannot be searched on the split {first.split or 'unknown'!r}", str(first.run), do)
    if len(members) > MAX_MEMBERS:
        raise RunError(
            f"{len(members)} members; the maximum of a search is {MAX_MEMBERS}",
            "--weights search",
            "give fewer members",
        )
    groups_N = np.array(first.table[choose_cluster_kind(first.table, first.cluster)].to_pylist())  # in one fold each
    folds = min(_FOLDS, len(np.unique(groups_N)))
    if folds < 2:
        do = "give more clips, or the weights with --weights"
        raise RunError("one group of clips is too few for cross-validation", str(first.run), do)
    truth_N = first.table["truth"].to_numpy().astype(np.int64)
    fused_NK = cross_validated_fusion(scores_MNK, truth_N, groups_N, folds, seed)
    source = f"grid search in steps of 1/{GRID_STEPS} for accuracy on {first.split}"
    return _Weighting(search_weights(scores_MNK, truth_N), source, CROSS_VALIDATED, fused_NK, folds)


def _given(members: Sequence[Member], text: str) -> np.ndarray:
    labels = ", ".join(member.label for member in members)
    try:
        weights_M = np.array([float(part) for part in text.split(",")])
    except ValueError:
        do = "give equal, search, one number for each member, or the folder of an ensemble"
        raise RunError(f"{text!r} is neither numbers nor a folder", "--weights", do) from None
    if len(weights_M) != len(members):
        what = f"{len(weights_M)} weights for {len(members)} members"
        raise RunError(what, "--weights", f"give one for each of: {labels}")
    if not np.isfinite(weights_M).all() or (weights_M < 0).any() or not weights_M.sum() > 0:
        raise RunError(f"{text}: weights must be 0 or more, not all 0", "--weights", f"one for each of: {labels}")
    return weights_M / weights_M.sum()


def _saved(members: Sequence[Member], folder: Path, score: str) -> np.ndarray:
    file = folder / "ensemble.json"
    try:
        record: dict[str, Any] = json.loads(file.read_text())
        saved = {str(member["label"]): float(member["weight"]) for member in record["members"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"cannot be read: {error}", str(file), "give the folder of an earlier ensemble") from error
    labels = [member.label for member in members]
    if set(labels) != set(saved):
        what = f"its members are {', '.join(saved)}, here they are {', '.join(labels)}"
        raise RunError(what, str(file), "fuse the same arms")
    if record.get("score") != score:
        raise RunError(f"its weights are for --score {record.get('score')}", str(file), "give the same --score")
    return np.array([saved[label] for label in labels])


def _named(table: pa.Table, label: str) -> pa.Table:
    return table.set_column(SCHEMA.get_field_index("arm"), "arm", pa.array([label] * table.num_rows, pa.string()))


def _without_priors(table: pa.Table) -> pa.Table:
    """Removes the class priors: the fused arm has none, so that missed faces count as wrong in every arm."""
    metadata = table.schema.metadata or {}
    return table.replace_schema_metadata({key: value for key, value in metadata.items() if key != PRIORS_KEY})


def _fused(members: Sequence[Member], weighting: _Weighting) -> pa.Table:
    """Builds the rows of the fused arm; a row has no prediction where no member with a weight has found a face."""
    table = _named(members[0].table, weighting.arm)
    seen_N = weighting.probabilities_NK.sum(axis=1) > 0
    lists = weighting.probabilities_NK.astype(np.float32).tolist()
    columns = {
        "stage": pa.array(["ensemble"] * table.num_rows, pa.string()),
        "found": pa.array(seen_N),
        "prediction": pa.array(weighting.probabilities_NK.argmax(axis=1).astype(np.float64), mask=~seen_N),
        "probabilities": pa.array(
            [one if seen else None for one, seen in zip(lists, seen_N.tolist(), strict=True)],
            SCHEMA.field("probabilities").type,
        ),
    }
    for name, column in columns.items():
        table = table.set_column(SCHEMA.get_field_index(name), name, column)
    return table


def _as_markdown(summary: Summary, members: Sequence[Member], weighting: _Weighting) -> str:
    """Formats a table of arms by metrics for each condition and severity, with the weights, and notes."""
    shown = {member.label: f"{weight:.3g}" for member, weight in zip(members, weighting.weights_M, strict=True)}
    parts = []
    for condition, severities in summary.severities().items():
        for severity in severities:
            heads = ["weight", "clips", *(metric.label for metric in summary.metrics)]
            lines = [
                f"| {escaped(condition)} {severity:g} | " + " | ".join(heads) + " |",
                "| --- |" + " ---: |" * len(heads),
            ]
            for arm in summary.arms:
                cells = [_cell(summary, arm, condition, severity, metric.name) for metric in summary.metrics]
                headline = summary.estimate(arm, condition, severity)
                clips = "-" if headline is None else str(headline.n)
                lines.append(f"| {escaped(arm)} | " + " | ".join([shown.get(arm, ""), clips, *cells]) + " |")
            parts.append("\n".join(lines))
    split = members[0].split or "an unknown split"
    notes = f"On {split}; weights: {weighting.source}. In brackets: 95 % interval, {summary.resamples} resamples of "
    notes += f"{summary.clusters} {summary.cluster}s."
    if weighting.folds is not None:
        notes += f" The fused row is cross-validated in {weighting.folds} folds; the weights shown are of all folds."
    return "\n\n".join([*parts, notes])


def _cell(summary: Summary, arm: str, condition: str, severity: float, metric: str) -> str:
    estimate = summary.estimate(arm, condition, severity, metric)
    if estimate is None:
        return "-"
    span = "" if estimate.low is None else f" [{format_number(estimate.low)}, {format_number(estimate.high)}]"
    return format_number(estimate.value) + span
