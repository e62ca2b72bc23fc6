"""Blocks of an evaluation: the batches of one pass of an arm over the samples at one level.

A block consists of whole batches of the pass, so that its predictions equal those of the undivided pass bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from blear.contracts import ClipSpec
from blear.evaluate.sweep import Level

BLOCK_SAMPLES = 4096
BLOCK_BYTES = 256 << 20
"""Largest number of bytes of a block's frames with one byte a value, which the tasks of a codec send to the models."""


@dataclass(frozen=True)
class Block:
    """A part of an evaluation.

    Attributes:
        seed: training seed of the models.
        arm: label of the arm.
        stage: stage of the arm at this level.
        level: condition and severity.
        split: the evaluated split.
        batches: numbers of the batches of the pass; None: the whole pass.
    """

    seed: int
    arm: str
    stage: str
    level: Level
    split: str
    batches: range | None = None


def batches_per_block(batch_size: int, clip: ClipSpec, length: int | None = None) -> int:
    """Returns the number of batches of a block.

    Args:
        clip: shape of the stored clips.
        length: frames that are used of a clip; None: all.
    """
    sample_bytes = (length or clip.length) * clip.channels * clip.height * clip.width
    samples = min(BLOCK_SAMPLES, BLOCK_BYTES // max(1, sample_bytes))
    return max(1, samples // batch_size)


def divide(passes: Iterable[Block], count: Callable[[Block], int], size: int) -> Iterator[Block]:
    """Divides whole passes into blocks of `size` batches at most, in order.

    Args:
        count: returns the number of batches of a whole pass.
    """
    for whole in passes:
        batches = count(whole)
        for first in range(0, batches, size):
            yield replace(whole, batches=range(first, min(first + size, batches)))
