"""Degradations: random keys, the protocol, and its optional additions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from blear.random_keys import nested, uniform

if TYPE_CHECKING:
    from torch import Tensor


DATASET_STREAMS = range(2, 16)
"""Random streams (`DrawKeys.operation`) of datasets that draw their samples. Degradations never draw from them: with
the same numbers a strength would tell the label."""


@dataclass(frozen=True)
class DrawKeys:
    """Counter-based random keys of a batch, one for each sample.

    A key is a function of (seed, epoch, sample, operation) only. A sample therefore draws the same numbers in the same
    epoch on every worker, in every batch and after every resume.

    Attributes:
        seed: the job's seed.
        operation: number of the random stream; every operation of a job has its own, outside of `DATASET_STREAMS`.
        epochs_B: int64, the epoch of each sample; a batch may contain samples of two epochs.
        samples_B: int64, the number of each sample in its split.
        progress: the completed fraction of the stage's steps, on which strengths may depend: 0 in the first step of
            training, 1 in validation and evaluation.
    """

    seed: int
    operation: int
    epochs_B: np.ndarray
    samples_B: np.ndarray
    progress: float = 1.0

    def uniform(self, n: int = 1) -> np.ndarray:
        """Returns uniform random numbers in [0, 1), float64 [B, n]; the n numbers of a sample are independent."""
        return uniform(self.seed, self.operation, self.epochs_B, self.samples_B, n)

    def frozen(self) -> DrawKeys:
        """Returns keys that do not depend on the epoch: each sample draws the same numbers in all epochs."""
        return replace(self, epochs_B=np.zeros_like(self.epochs_B))

    def nested(self, index: int) -> DrawKeys:
        """Returns keys for part `index` of an operation, whose stream does not depend on the other parts."""
        return replace(self, operation=nested(self.operation, index))

    def take(self, which_K: np.ndarray) -> DrawKeys:
        """Returns the keys of the samples at the positions `which_K` of the batch."""
        return replace(self, epochs_B=self.epochs_B[which_K], samples_B=self.samples_B[which_K])


Draws = dict[str, "Tensor"]
"""The random parameters of a degradation for one batch: name -> tensor whose first dimension is B."""


@runtime_checkable
class Degradation(Protocol):
    """A batched operation on frames that runs on the device, with one strength for each sample."""

    def draw(self, keys: DrawKeys) -> Draws:
        """Draws the parameters of B samples, on the CPU. The result depends on the keys only."""
        ...

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Degrades a batch. All frames of a clip are degraded alike, unless the degradation is documented per frame.

        Args:
            frames_BTCHW: floating point frames in about [0, 1]; not modified.
            draws: from `draw`, moved to the frames' device.

        Returns:
            Frames of the same dtype and shape (see `Resizing` for operations that change H and W).
        """
        ...

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns the parameters of each severity that evaluation sweeps by default, from mild to severe.

        Example: `[{"factor": 2}, {"factor": 4}, {"factor": 8}]`. Empty: the degradation has no default levels.
        """
        ...


@runtime_checkable
class Separable(Degradation, Protocol):
    """Optional addition for degradations that are linear and act on rows and columns independently.

    Neighbouring separable degradations of a chain are fused into one operator. Except for rounding, `apply` must equal
    `blear.separable.apply_operators` of the matrices that `operators` returns.
    """

    def operators(self, draws: Draws, height: int, width: int) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Returns the matrices of each sample for frames of height x width, on the draws' device.

        Returns:
            The matrices of the rows' axis and those of the columns' axis, float32 [B, out, in], each in the order of
            application. The first ones have in = height and in = width. The output size is the same for all samples.
        """
        ...


@runtime_checkable
class Resizing(Degradation, Protocol):
    """Optional addition for degradations that change the size of frames, such as a random crop.

    If a stage uses such an operation in `augment`, evaluation must give the model frames of the same size.
    """

    def for_evaluation(self) -> Degradation:
        """Returns the deterministic operation that evaluation applies instead, for a random crop the centre crop."""
        ...


@runtime_checkable
class Coding(Degradation, Protocol):
    """Optional addition for codecs. Evaluation writes the bit rate of each clip into the predictions table."""

    def apply_coded(self, frames_BTCHW: Tensor, draws: Draws) -> tuple[Tensor, np.ndarray]:
        """Encodes and decodes a batch.

        Returns:
            The frames that `apply` returns, and the bit rate of each clip in kbit/s, float64 [B]; NaN for a clip that
            was not encoded.
        """
        ...


@runtime_checkable
class OnCpu(Degradation, Protocol):
    """Optional addition for degradations that compute on the CPU even if the frames are on a GPU, such as codecs.

    If a stage's `degrade` begins with such operations, training applies them ahead of the steps, in several threads.

    Attributes:
        on_cpu: whether this instance computes on the CPU.
    """

    on_cpu: bool


@runtime_checkable
class SizeIndependent(Degradation, Protocol):
    """Optional addition for augmentations that act alike on clips of different sizes, such as a flip.

    Their draws do not depend on the size of the frames. With the same draws, `apply` of a downscaled clip is the
    downscaled `apply` of the clip, and the same holds for the centre of a clip. A stage whose samples have a smaller
    `clean` than their frames applies such augmentations to both, and refuses all others.

    Attributes:
        size_independent: whether this instance acts so.
    """

    size_independent: bool


@runtime_checkable
class Moving(Degradation, Protocol):
    """Optional addition for degradations that move the content of frames of the same size, such as a flip.

    Boxes, masks and key points of a picture do not fit it afterwards: `blear.degrade` with `keep_places` refuses such
    operations. An operation without the attribute counts as one that moves nothing: most degradations change values
    only, and whether pixels moved cannot be read from the frames (an inverted ramp is a mirrored ramp).

    Attributes:
        moves_content: whether this instance does so, for any draw.
    """

    moves_content: bool
