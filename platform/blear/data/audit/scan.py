"""Scans the shards of prepared data for near-duplicates: within splits, across them, and with conflicting labels."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from blear.data.audit.hashes import hashes
from blear.data.audit.neighbours import pairs
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.progress import track
from blear.storage.run_folder import write_text

_BLOCK = 512
_SHOWN = 5


@dataclass(frozen=True)
class Audit:
    """Groups of near-duplicates, each sample in at most one.

    Attributes:
        splits_N, keys_N, labels_N: of every sample, in the order of the scan; a label names every class target.
        group_N: number of its group; -1: none.
        radius: bits in which neighbours differ at most; a group may spread further.
    """

    splits_N: np.ndarray
    keys_N: np.ndarray
    labels_N: np.ndarray
    group_N: np.ndarray
    radius: int
    seconds: float

    @property
    def groups(self) -> list[np.ndarray]:
        """Samples of each group."""
        order = np.argsort(self.group_N, kind="stable")
        order = order[self.group_N[order] >= 0]
        return np.split(order, np.flatnonzero(np.diff(self.group_N[order])) + 1) if len(order) else []

    def spans(self, group: np.ndarray) -> bool:
        """Whether a group is in several splits."""
        return len(set(self.splits_N[group])) > 1

    def conflicts(self, group: np.ndarray) -> bool:
        """Whether the members of a group are labelled differently."""
        return len(set(self.labels_N[group])) > 1


def audit(prepared: Mapping[str, Prepared], radius: int) -> Audit:
    """Scans every split of some datasets; a sample that cannot be decoded is left out.

    Args:
        prepared: name -> dataset; splits are named `name/split`, or `split` where there is one dataset.
        radius: 0 finds pictures of equal hash, 3 also what was scaled or compressed again.
    """
    began = time.perf_counter()
    splits: list[str] = []
    keys: list[str] = []
    labels: list[str] = []
    found: list[np.ndarray] = []
    total = sum(data.count(split) for data in prepared.values() for split in data.splits)
    with track("audit", total) as bar:
        for name, data in prepared.items():
            for split in data.splits:
                label = split if len(prepared) == 1 else f"{name}/{split}"
                store = Store.open(data, split, max_broken=data.count(split), cache_gb=0)
                for start in range(0, len(store), _BLOCK):
                    wanted = np.arange(start, min(start + _BLOCK, len(store)))
                    taken = store.take(wanted)
                    good = wanted[taken.good_B]
                    if len(good):
                        found.append(hashes(taken.frames[:, taken.frames.shape[1] // 2].numpy()))
                    keys += store.keys(good)
                    splits += [label] * len(good)
                    labels += _labels(data, {key: value.numpy() for key, value in taken.targets.items()}, len(good))
                    bar.advance(len(wanted), label)
                store.close()
    hashes_N = np.concatenate(found) if found else np.empty(0, dtype=np.uint64)
    return Audit(
        np.array(splits),
        np.array(keys),
        np.array(labels),
        grouped(hashes_N, radius),
        radius,
        time.perf_counter() - began,
    )


def as_markdown(found: Audit) -> str:
    """How many there are, and the first groups that matter most: across splits, and with conflicting labels."""
    groups = found.groups
    across, conflicting = [g for g in groups if found.spans(g)], [g for g in groups if found.conflicts(g)]
    lines = [
        f"{len(found.keys_N)} samples in {found.seconds:.1f} s "
        f"({len(found.keys_N) / max(found.seconds, 1e-9):.0f} per second), radius {found.radius} of 64 bits.",
        "",
        "| near-duplicates | groups | samples |",
        "| --- | ---: | ---: |",
    ]
    for what, of in (("all", groups), ("across splits", across), ("conflicting labels", conflicting)):
        lines.append(f"| {what} | {len(of)} | {sum(map(len, of))} |")
    rows = [(split, int((found.splits_N == split).sum())) for split in dict.fromkeys(found.splits_N.tolist())]
    lines += ["", "| split | samples | with a near-duplicate in another split |", "| --- | ---: | ---: |"]
    for split, count in rows:
        lines.append(f"| {split} | {count} | {sum(int((found.splits_N[g] == split).sum()) for g in across)} |")
    for what, of in (("Across splits", across), ("Conflicting labels", conflicting)):
        if of:
            shown = [
                ", ".join(f"{found.splits_N[i]}:{found.keys_N[i]} ({found.labels_N[i]})" for i in g)
                for g in of[:_SHOWN]
            ]
            lines += ["", f"{what}:", *(f"- {one}" for one in shown), *(["- ..."] if len(of) > _SHOWN else [])]
    return "\n".join(lines)


def write_csv(found: Audit, path: Path) -> None:
    """One row for each sample that has a near-duplicate."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "split", "key", "label", "size", "conflicting_labels", "spans_splits"])
    for number, group in enumerate(found.groups):
        facts = [len(group), int(found.conflicts(group)), int(found.spans(group))]
        writer.writerows([number, found.splits_N[i], found.keys_N[i], found.labels_N[i], *facts] for i in group)
    write_text(path, text.getvalue())


def grouped(hashes_N: np.ndarray, radius: int) -> np.ndarray:
    """Number of each one's group of connected neighbours, in order of appearance; -1 for those without a neighbour."""
    near_P2 = pairs(hashes_N, radius)
    count = len(hashes_N)
    graph = coo_array((np.ones(len(near_P2), dtype=np.int8), (near_P2[:, 0], near_P2[:, 1])), shape=(count, count))
    _, part_N = connected_components(graph, directed=False)
    alone_N = np.bincount(part_N, minlength=1)[part_N] == 1
    part_N = part_N.astype(np.int64)
    _, first, inverse = np.unique(part_N[~alone_N], return_index=True, return_inverse=True)
    part_N[alone_N] = -1
    part_N[~alone_N] = np.argsort(np.argsort(first))[inverse]
    return part_N


def _labels(data: Prepared, targets: Mapping[str, np.ndarray], count: int) -> list[str]:
    """The class names of each sample; values are no label that could conflict."""
    classes = {name: target.classes for name, target in data.targets.items() if target.kind == "class"}
    columns = [[classes[name][int(value)] for value in targets[name]] for name in classes if name in targets]
    return [" ".join(row) for row in zip(*columns, strict=True)] if columns else [""] * count
