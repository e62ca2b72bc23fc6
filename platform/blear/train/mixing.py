"""Mixed samples: mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019).

Each sample is mixed with the sample at the mirrored position of the same micro-batch. The share and the box are drawn
once for each step from the job's seed, the stage and the step: they are the same for all workers, and after a resume.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blear.contracts import Batch
from blear.job.schema import Mix

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class MixDraw:
    """The draw of one step.

    Attributes:
        share: share of the first sample, in [0, 1].
        box: top, bottom, left and right of the rectangle of the other sample, in shares of the frame; None: the frames
            are averaged (mixup).
    """

    share: float
    box: Box | None


@dataclass(frozen=True)
class MixedBatch:
    """A batch of mixed samples.

    Attributes:
        batch: mixed frames and clean frames, with the targets of the first samples.
        others: the same with the targets of the other samples.
        share: weight of the loss of `batch`; that of `others` is 1 - share.
    """

    batch: Batch
    others: Batch
    share: float


def draw_mix(spec: Mix, seed: int, stage: str, step: int) -> MixDraw | None:
    """Draws the mixture of a step; None: the samples of this step are not mixed."""
    generator = np.random.default_rng([seed, zlib.crc32(stage.encode()), step])
    chosen, kind, down, right = generator.random(4)
    if chosen >= spec.p:
        return None
    cut = spec.cutmix is not None and (spec.mixup is None or kind < 0.5)
    alpha = spec.cutmix if cut else spec.mixup
    assert alpha is not None
    share = float(generator.beta(alpha, alpha))
    if not cut:
        return MixDraw(share, None)
    side = math.sqrt(1 - share)  # of the rectangle, in shares of the frame's sides
    edges = [(place - side / 2, place + side / 2) for place in (down, right)]
    (top, bottom), (left, end) = ((max(0.0, low), min(1.0, high)) for low, high in edges)
    return MixDraw(share, (top, bottom, left, end))


def mix_batch(batch: Batch, drawn: MixDraw) -> MixedBatch:
    """Mixes each sample of a batch with the one at the mirrored position.

    With a rectangle, the share is the area outside its whole pixels.
    """
    share = drawn.share
    if drawn.box is not None:
        height, width = batch.frames_BTCHW.shape[-2:]
        rows, columns = _pixels(drawn.box, height, width)
        share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    mixed = replace(batch, frames_BTCHW=_mixed(batch.frames_BTCHW, drawn), clean_BTCHW=_mixed(batch.clean_BTCHW, drawn))
    others: Mapping[str, Tensor] = {name: value.flip(0) for name, value in batch.targets.items()}
    return MixedBatch(mixed, replace(mixed, targets=others), share)


def _mixed(frames_BTCHW: Tensor, drawn: MixDraw) -> Tensor:
    if drawn.box is None:
        return torch.lerp(frames_BTCHW.flip(0), frames_BTCHW, drawn.share)
    rows, columns = _pixels(drawn.box, *frames_BTCHW.shape[-2:])
    mixed = frames_BTCHW.clone()
    mixed[..., rows, columns] = frames_BTCHW.flip(0)[..., rows, columns]
    return mixed


def _pixels(box: Box, height: int, width: int) -> tuple[slice, slice]:
    """The rows and columns of a rectangle."""
    top, bottom, left, right = box
    return slice(round(top * height), round(bottom * height)), slice(round(left * width), round(right * width))
