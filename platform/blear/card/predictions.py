"""Runs models on samples under every condition of a suite, and collects the table of predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from blear.card.labels import LabelMap
from blear.card.samples import CardData
from blear.card.suites import Suite
from blear.card.uncovered import UncoveredCounter
from blear.contracts import BuildContext, Categories, ClipSpec
from blear.degradation.chain import Chain, as_float
from blear.errors import RunError
from blear.evaluate.prediction_rows import ClipColumns, PredictionContext, prediction_rows
from blear.evaluate.sweep import Level, levels
from blear.evaluate.transform import condition_chain
from blear.models.inference import for_inference
from blear.models.model import Model
from blear.models.open_model import AnyModel
from blear.plugin.catalog import Catalog
from blear.progress import track

CODEC = "codec"
"""Key of a sweep's `group`: its levels are points of a rate-accuracy curve. Other conditions have no bit rates."""
_BATCH, _CHUNK = 256, 64  # degraded together; 64 pictures pass through a small network fastest on CPUs


@dataclass(frozen=True)
class TestedModel:
    """A model of a card.

    Attributes:
        label: name on the card.
        target: the class target of the model that is tested.
        labels: from the model's classes to those of the data.
    """

    label: str
    model: AnyModel
    target: str
    labels: LabelMap

    def network(self, device: str) -> Callable[[Tensor], np.ndarray]:
        """A function: clips [N, T, C, H, W] in [0, 1] -> probabilities of the model's classes, float32 [N, M]."""
        fast = for_inference(self.model).to(device) if isinstance(self.model, Model) else self.model.to(device)

        def run(clips: Tensor) -> np.ndarray:
            return np.concatenate([fast(part)[self.target].detach().cpu().numpy() for part in clips.split(_CHUNK)])

        return run


@dataclass(frozen=True)
class CardFaces:
    """Some samples under every condition.

    Attributes:
        frames_NLHWC: uint8, the first frames of N samples at L levels.
        samples: keys of the N samples.
        levels: the L levels.
    """

    frames_NLHWC: np.ndarray
    samples: list[str]
    levels: list[Level]


def predict_suite(
    models: Sequence[TestedModel],
    data: CardData,
    suite: Suite,
    catalog: Catalog,
    *,
    device: str = "cpu",
    faces: int = 0,
    slices: Sequence[str] = (),
) -> tuple[pa.Table, CardFaces, list[UncoveredCounter]]:
    """Predicts all samples under every condition. All models see the same degraded pictures.

    Args:
        device: of the degradations and the networks.
        faces: number of samples whose pictures are returned.
        slices: keys of the samples' `meta` that the table keeps.

    Returns:
        The predictions table with one arm for each model, the pictures, and the number of predictions of each model
        without any probability on the data's classes.

    Raises:
        RunError: a model returns probabilities that are not finite, or most of its predictions have no probability on
            the data's classes.
    """
    context = _context(data, suite)
    swept = levels(suite.evaluate, catalog, context)
    networks = [model.network(device) for model in models]
    counters = [UncoveredCounter(model.label, model.labels) for model in models]
    shown = np.unique(np.linspace(0, len(data.truth_N) - 1, min(faces, len(data.truth_N))).astype(np.int64))
    tables: list[list[pa.Table]] = [[] for _ in models]
    pictures = []
    with track("conditions", len(swept), 0) as bar, torch.no_grad():
        for level in swept:
            chain, found = condition_chain(suite.evaluate, level, catalog, context), []
            for rows_B, frames, kbps_B in _degraded(data, chain, device):
                found.append(_pictures(frames, rows_B, shown))
                clips = _clip_columns(data, rows_B, kbps_B if _is_curve(suite, level) else None, slices)
                for number, (model, network) in enumerate(zip(models, networks, strict=True)):
                    p_BM = network(frames)
                    _require_finite(p_BM, model, level)
                    counters[number].add(model.labels.covers(p_BM))
                    decoded = Categories(data.classes, torch.from_numpy(model.labels(p_BM))[:, None])
                    row = PredictionContext(
                        model.label,
                        model.label,
                        level.condition,
                        level.severity,
                        data.target,
                        classes={data.target: data.classes},
                    )
                    tables[number].append(prediction_rows(row, clips, data.truth_N[rows_B], decoded))
            pictures.append(np.concatenate(found))
            for counter in counters:
                counter.require_most_covered()
            bar.advance(1, level.condition)
    keys = [data.samples[row].key for row in shown]
    table = pa.concat_tables([part for parts in tables for part in parts])
    return table, CardFaces(np.stack(pictures, axis=1), keys, swept), counters


def _context(data: CardData, suite: Suite) -> BuildContext:
    _, length, height, width, channels = data.frames_NTHWC.shape
    return BuildContext(suite.seed, ClipSpec(length, channels, height, width))


def _degraded(data: CardData, chain: Chain, device: str) -> Iterator[tuple[np.ndarray, Tensor, np.ndarray]]:
    """Yields (rows of the samples [B], degraded frames [B, T, C, H, W] in [0, 1], kbit/s [B]) of each batch."""
    for first in range(0, len(data.truth_N), _BATCH):
        rows_B = np.arange(first, min(first + _BATCH, len(data.truth_N)))
        part = np.ascontiguousarray(data.frames_NTHWC[rows_B].transpose(0, 1, 4, 2, 3))
        numbers_B = data.numbers_N[rows_B]
        clean = as_float(torch.from_numpy(part), torch.device(device))
        frames, kbps_B = chain.coded(clean, np.zeros_like(numbers_B), numbers_B)
        yield rows_B, frames.clamp(0, 1), kbps_B


def _is_curve(suite: Suite, level: Level) -> bool:
    return level.use is not None and CODEC in suite.evaluate.sweeps[level.condition].group


def _clip_columns(data: CardData, rows_B: np.ndarray, kbps_B: np.ndarray | None, slices: Sequence[str]) -> ClipColumns:
    samples = [data.samples[row] for row in rows_B]
    return ClipColumns(
        samples=[sample.key for sample in samples],
        subjects=[sample.subject for sample in samples],
        videos=[sample.video for sample in samples],
        times=[sample.time for sample in samples],
        kbps=kbps_B,
        meta=[{key: sample.meta[key] for key in slices if key in sample.meta} for sample in samples],
    )


def _pictures(frames: Tensor, rows_B: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """First frames of the shown samples of a batch, uint8 [n, H, W, C]."""
    chosen = torch.from_numpy(np.flatnonzero(np.isin(rows_B, shown))).to(frames.device)
    return frames[chosen, 0].mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _require_finite(p_BM: np.ndarray, model: TestedModel, level: Level) -> None:
    if not np.isfinite(p_BM).all():
        what = f"probabilities are not finite at {level.condition} {level.severity:g}"
        raise RunError(what, model.label, "check range, mean and std of the model's facts")
