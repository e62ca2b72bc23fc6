"""The report of an export: differences, latency, size, multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from blear.export.compare import LevelDifference, Predictor, difference_table
from blear.export.latency import BATCHES, call_times
from blear.models.inference import for_inference
from blear.models.model import Model
from blear.train.macs import count_macs


@torch.no_grad()
def export_report(
    model: Model, file: Predictor, out: Path, found: Sequence[LevelDifference], notes: Sequence[str]
) -> str:
    """The report as Markdown.

    Args:
        file: the exported file, as it is used for prediction.
        out: the exported file.
        found: the differences, level by level.
        notes: paragraphs that stand first.
    """
    worst = max(found, key=lambda one: one.largest)
    largest = f"largest difference: {worst.largest:.1e}, at {worst.name}"
    clip = model.card.clip
    macs = count_macs(model, torch.zeros(1, clip.length, clip.channels, clip.height, clip.width))
    size = f"{out.stat().st_size / 1e6:.2f} MB, {macs / 1e6:.1f} million multiply-accumulates for each "
    size += "clip" if clip.length > 1 else "picture"
    return "\n\n".join([*notes, difference_table(found), largest, _latencies(model, file), size])


def _latencies(model: Model, file: Predictor) -> str:
    clip = model.card.clip
    heads = [f"{name}, batch {batch}" for batch in BATCHES for name in ("p50", "p95")]
    title = f"latency in ms, {torch.get_num_threads()} threads"
    lines = [f"| {title} | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for name, call in (("model in PyTorch", for_inference(model)), ("file", file)):
        cells = []
        for batch in BATCHES:
            frames = torch.rand(batch, clip.length, clip.channels, clip.height, clip.width)
            cells += [f"{value:.2f}" for value in call_times(call, frames)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
