"""Scans prepared datasets for near-duplicate images: within splits, across splits, and with conflicting labels."""

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

from blear.data.audit.hamming_pairs import hamming_pairs
from blear.data.audit.perceptual_hash import has_content, perceptual_hashes
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.progress import track
from blear.storage.run_folder import write_text

_BLOCK = 512
_SHOWN = 5


@dataclass(frozen=True)
class NearDuplicates:
    """Groups of near-duplicates; a sample is in one group at most.

    Attributes:
        splits_N, keys_N, labels_N: texts for each of N samples, in the order of the scan; a label joins the class names
            of all class targets.
        group_N: int64 number of the sample's group; -1: none.
        content_N: whether the picture has content. Black, white and other pictures without content are in no group:
            their hashes are equal although the pictures differ.
        radius: largest number of bits in which two neighbours differ; a group may hold pairs that differ more.
        seconds: duration of the scan.
    """

    splits_N: np.ndarray
    keys_N: np.ndarray
    labels_N: np.ndarray
    group_N: np.ndarray
    content_N: np.ndarray
    radius: int
    seconds: float

    @property
    def groups(self) -> list[np.ndarray]:
        """Positions of the samples of each group."""
        order = np.argsort(self.group_N, kind="stable")
        order = order[self.group_N[order] >= 0]
        return np.split(order, np.flatnonzero(np.diff(self.group_N[order])) + 1) if len(order) else []

    def crosses_splits(self, group: np.ndarray) -> bool:
        """Whether the samples of a group are in several splits."""
        return len(set(self.splits_N[group])) > 1

    def has_label_conflict(self, group: np.ndarray) -> bool:
        """Whether the samples of a group have different labels."""
        return len(set(self.labels_N[group])) > 1


def find_near_duplicates(prepared: Mapping[str, Prepared], radius: int) -> NearDuplicates:
    """Scans every split of one or more datasets; the middle frame represents a clip. Broken samples are left out.

    Args:
        prepared: name -> dataset. Splits are named `name/split`, or `split` if there is one dataset.
        radius: 0 finds images with equal hashes; 3 also finds images that were resized or compressed again.
    """
    began = time.perf_counter()
    splits: list[str] = []
    keys: list[str] = []
    labels: list[str] = []
    found: list[np.ndarray] = []
    content: list[np.ndarray] = []
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
                        frames = _grey_levels(taken.frames[:, taken.frames.shape[1] // 2].numpy())
                        found.append(perceptual_hashes(frames))
                        content.append(has_content(frames))
                    keys += store.keys(good)
                    splits += [label] * len(good)
                    labels += _labels(data, {key: value.numpy() for key, value in taken.targets.items()}, len(good))
                    bar.advance(len(wanted), label)
                store.close()
    hashes_N = np.concatenate(found) if found else np.empty(0, dtype=np.uint64)
    content_N = np.concatenate(content) if content else np.empty(0, dtype=bool)
    group_N = np.full(len(hashes_N), -1)
    group_N[content_N] = group_neighbours(hashes_N[content_N], radius)
    return NearDuplicates(
        np.array(splits),
        np.array(keys),
        np.array(labels),
        group_N,
        content_N,
        radius,
        time.perf_counter() - began,
    )


def format_markdown(found: NearDuplicates) -> str:
    """Formats the counts, the first groups across splits and with conflicting labels, and the first pictures without
    content, as Markdown.
    """
    groups = found.groups
    across = [group for group in groups if found.crosses_splits(group)]
    conflicting = [group for group in groups if found.has_label_conflict(group)]
    lines = [
        f"{len(found.keys_N)} samples in {found.seconds:.1f} s "
        f"({len(found.keys_N) / max(found.seconds, 1e-9):.0f} per second), radius {found.radius} of 64 bits.",
        "",
        "| near-duplicates | groups | samples |",
        "| --- | ---: | ---: |",
    ]
    for name, chosen in (("all", groups), ("across splits", across), ("conflicting labels", conflicting)):
        lines.append(f"| {name} | {len(chosen)} | {sum(map(len, chosen))} |")
    lines.append(f"| without content (one colour, stripes) | - | {np.count_nonzero(~found.content_N)} |")
    rows = [(split, int((found.splits_N == split).sum())) for split in dict.fromkeys(found.splits_N.tolist())]
    lines += ["", "| split | samples | with a near-duplicate in another split |", "| --- | ---: | ---: |"]
    for split, count in rows:
        lines.append(f"| {split} | {count} | {sum(int((found.splits_N[g] == split).sum()) for g in across)} |")
    blank = [np.array([i]) for i in np.flatnonzero(~found.content_N)]
    for name, chosen in (("Across splits", across), ("Conflicting labels", conflicting), ("Without content", blank)):
        if chosen:
            shown = [
                ", ".join(f"{found.splits_N[i]}:{found.keys_N[i]} ({found.labels_N[i]})" for i in g)
                for g in chosen[:_SHOWN]
            ]
            lines += ["", f"{name}:", *(f"- {one}" for one in shown), *(["- ..."] if len(chosen) > _SHOWN else [])]
    return "\n".join(lines)


def write_csv(found: NearDuplicates, path: Path) -> None:
    """Writes one row for each sample that has a near-duplicate."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "split", "key", "label", "size", "conflicting_labels", "spans_splits"])
    for number, group in enumerate(found.groups):
        columns = [len(group), int(found.has_label_conflict(group)), int(found.crosses_splits(group))]
        writer.writerows([number, found.splits_N[i], found.keys_N[i], found.labels_N[i], *columns] for i in group)
    write_text(path, text.getvalue())


def group_neighbours(hashes_N: np.ndarray, radius: int) -> np.ndarray:
    """Groups samples that are connected by pairs of neighbours.

    Args:
        hashes_N: uint64.
        radius: 0 to 7.

    Returns:
        int64 [N], number of the sample's group in order of appearance; -1 for a sample without a neighbour.
    """
    pairs_P2 = hamming_pairs(hashes_N, radius)
    count = len(hashes_N)
    graph = coo_array((np.ones(len(pairs_P2), dtype=np.int8), (pairs_P2[:, 0], pairs_P2[:, 1])), shape=(count, count))
    _, group_N = connected_components(graph, directed=False)
    alone_N = np.bincount(group_N, minlength=1)[group_N] == 1
    group_N = group_N.astype(np.int64)
    _, first, inverse = np.unique(group_N[~alone_N], return_index=True, return_inverse=True)
    group_N[alone_N] = -1
    group_N[~alone_N] = np.argsort(np.argsort(first))[inverse]
    return group_N


def _grey_levels(frames_BCHW: np.ndarray) -> np.ndarray:
    """Frames of 0 to 255: stored uint8, or stored float32 of 0 to 1."""
    return frames_BCHW if frames_BCHW.dtype == np.uint8 else frames_BCHW * np.float32(255)


def _labels(data: Prepared, targets: Mapping[str, np.ndarray], count: int) -> list[str]:
    """Joins the class names of each sample. Regression targets are ignored: nearly equal values do not conflict."""
    classes = {name: target.classes for name, target in data.targets.items() if target.kind == "class"}
    columns = [[classes[name][int(value)] for value in targets[name]] for name in classes if name in targets]
    return [" ".join(row) for row in zip(*columns, strict=True)] if columns else [""] * count
