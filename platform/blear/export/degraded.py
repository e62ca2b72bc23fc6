"""The samples of a check under each condition of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, ClipSpec
from blear.degradation.chain import as_float
from blear.evaluate.sweep import Level, levels
from blear.evaluate.transform import condition_chain
from blear.export.check_data import CheckData
from blear.job.schema import Evaluate
from blear.plugin.catalog import Catalog

_CHUNK = 64


@dataclass(frozen=True)
class DegradedSamples:
    """Degrades samples; the draws of a sample depend on its position only.

    Attributes:
        data: the samples.
        evaluate: the conditions; clean samples come first in any case.
    """

    data: CheckData
    evaluate: Evaluate
    catalog: Catalog

    @property
    def _context(self) -> BuildContext:
        _, length, height, width, channels = self.data.frames_NTHWC.shape
        return BuildContext(clip=ClipSpec(length, channels, height, width))

    def levels(self) -> list[Level]:
        """The levels of all conditions."""
        return levels(self.evaluate.model_copy(update={"clean": True}), self.catalog, self._context)

    def chunks(self, level: Level, first: int = 0, step: int = 1) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yields (positions [n], frames float32 [n, T, C, H, W] in [0, 1]) of every `step`-th sample at a level."""
        chain = condition_chain(self.evaluate, level, self.catalog, self._context)
        positions = np.arange(first, len(self.data.frames_NTHWC), step)
        for begin in range(0, len(positions), _CHUNK):
            chosen = positions[begin : begin + _CHUNK]
            frames = torch.from_numpy(np.ascontiguousarray(self.data.frames_NTHWC[chosen].transpose(0, 1, 4, 2, 3)))
            degraded = chain(as_float(frames, torch.device("cpu")), np.zeros_like(chosen), chosen)
            yield chosen, degraded.clamp(0, 1)

    def mixture(self) -> list[Tensor]:
        """Each sample once, the levels in turn."""
        found = self.levels()
        return [frames for place, level in enumerate(found) for _, frames in self.chunks(level, place, len(found))]
