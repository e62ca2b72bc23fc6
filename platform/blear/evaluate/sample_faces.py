"""Writes faces.npz, the pictures of the report: some faces at every level, and the faces of the worst mistakes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from blear.data.decoded.store import Store
from blear.degradation.chain import Chain, as_float
from blear.evaluate.mistakes import MAX_MISTAKES, worst_mistakes_by_arm
from blear.evaluate.sweep import Level
from blear.job.schema import CLEAN
from blear.storage.run_folder import write_bytes


def write_faces(
    path: Path,
    store: Store,
    levels: Sequence[Level],
    chain: Callable[[Level], Chain],
    device: torch.device,
    *,
    count: int,
    decisions: Sequence[pa.Table],
) -> None:
    """Writes the first frames of `count` samples at equal distances in the split, and of the worst mistakes.

    Args:
        path: of faces.npz.
        store: the evaluated split.
        levels: the clean level first, if there is one.
        chain: returns the degradations of a level.
        device: that the degradations run on.
        count: number of samples.
        decisions: rows of the predictions table of each target, pooled where the evaluation pools.
    """
    chosen = np.linspace(0, len(store) - 1, min(count, len(store))).astype(np.int64)
    taken = store.take(chosen)
    chosen = chosen[taken.good_B]
    degraded = [_degraded(taken.frames, chain(level), chosen, device) for level in levels]
    arrays: dict[str, Any] = {
        "frames": np.stack(degraded, axis=1),
        "samples": np.array(store.keys(chosen)),
        "severities": np.array([level.severity for level in levels]),
        "conditions": np.array([level.condition for level in levels]),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, **_mistakes(store, levels, chain, device, decisions))
    write_bytes(path, buffer.getvalue())


def clean_level(levels: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """Returns the (condition, severity) that counts as clean: clean frames, else the first level of the first sweep."""
    return next((level for level in levels if level[0] == CLEAN), levels[0])


def _mistakes(
    store: Store,
    levels: Sequence[Level],
    chain: Callable[[Level], Chain],
    device: torch.device,
    decisions: Sequence[pa.Table],
) -> dict[str, Any]:
    """Returns the arrays of the worst mistakes; decisions that are pooled over several samples have no picture."""
    by_name = {(level.condition, level.severity): level for level in levels}
    found = [
        mistake
        for of_target in decisions
        for parts in worst_mistakes_by_arm(of_target, clean_level(list(by_name)), MAX_MISTAKES).values()
        for part in parts
        for mistake in part
    ]
    wanted: dict[tuple[str, float], list[str]] = {}
    for mistake in found:
        samples = wanted.setdefault((mistake.condition, mistake.severity), [])
        if mistake.sample not in samples:
            samples.append(mistake.sample)
    ids = {key: row for row, key in enumerate(store.keys(np.arange(len(store))))}
    frames, keys = [], []
    for name, samples in wanted.items():
        chosen = np.array([ids[sample] for sample in samples if sample in ids], dtype=np.int64)
        if len(chosen):
            taken = store.take(chosen)
            chosen = chosen[taken.good_B]
            frames.append(_degraded(taken.frames, chain(by_name[name]), chosen, device))
            keys += [(sample, *name) for sample in store.keys(chosen)]
    if not keys:
        return {}
    names = ("mistake_samples", "mistake_conditions", "mistake_severities")
    columns = (np.array(column) for column in zip(*keys, strict=True))
    return {"mistake_frames": np.concatenate(frames)} | dict(zip(names, columns, strict=True))


def _degraded(frames: Any, chain: Chain, samples_B: np.ndarray, device: torch.device) -> np.ndarray:
    """Degrades clips and returns their first frames, uint8 [B, H, W, C]."""
    out = chain(as_float(frames, device), np.zeros_like(samples_B), samples_B)[:, 0]
    return out.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
