"""Models: backbones, heads, batches, decoded predictions and their metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


Features = dict[str, "Tensor"]
"""Feature name -> tensor. `embedding` is [B, T, D]; feature maps have any other name and are [B, T, C, h, w]."""


_P = ParamSpec("_P")
_R = TypeVar("_R")


def not_compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator of a function that `torch.compile` must call as Python, for instance because it fills a cache.

    Does what `torch.compiler.disable` does, without importing the compiler (over a second) when the plugin loads.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        import torch

        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return call


@runtime_checkable
class Backbone(Protocol):
    """A `torch.nn.Module` that maps frames to named features.

    The names of its parameters are public: `start_from`, `scale_lr` and `no_decay` of a job refer to them.
    """

    def __call__(self, frames_BTCHW: Tensor) -> Features:
        """Computes the features of a batch of clips; each feature's first two dimensions are B and T."""
        ...


@dataclass(frozen=True)
class Batch:
    """One batch on the device.

    Attributes:
        frames_BTCHW: degraded frames, float32 in [0, 1].
        clean_BTCHW: the frames before the job's degradations, or the samples' own `clean`; float32 in [0, 1].
        targets: target name -> class indices, int64 [B], regression values, float32 [B], or distributions,
            float32 [B, K].
    """

    frames_BTCHW: Tensor
    clean_BTCHW: Tensor
    targets: Mapping[str, Tensor]


@dataclass(frozen=True)
class Values:
    """A decoded regression target.

    Attributes:
        values_BT: float [B, T]; T = 1 if there is one value for each clip.
    """

    values_BT: Tensor


@dataclass(frozen=True)
class Categories:
    """A decoded classification or distribution target.

    Attributes:
        classes: class names.
        probabilities_BTK: float [B, T, K], sums to 1 over K; T = 1 if there is one decision for each clip.
    """

    classes: tuple[str, ...]
    probabilities_BTK: Tensor


@dataclass(frozen=True)
class Images:
    """Decoded images, for instance of a restoration head.

    Attributes:
        frames_BTCHW: float [B, T, C, h, w] in about [0, 1]; smaller than the input if convolutions are not padded.
    """

    frames_BTCHW: Tensor


Decoded = Values | Categories | Images


@dataclass(frozen=True)
class Metric:
    """A metric of predictions, computed from ground truth and predictions only.

    Attributes:
        name: name of the column in tables, for instance "ccc".
        label: name in charts, for instance "CCC".
        compute: called as `compute(truth_N, prediction_N)`; both are class indices for classification, floats for
            regression, and shares [N, K] for distributions.
        higher_is_better: the direction of the metric.
        from_sums: the same metric from sums over samples, used for bootstrap resampling. Classification: from
            confusion counts [..., K, K] (row = true class) to [...]. Regression: from sums of `metrics.moments`
            [..., 6] to [...]. Distributions: from sums of `metrics.distribution_terms` [..., 4] to [...]. NaN where the
            metric is undefined. None: each resample calls `compute`, which is more than ten times slower.
    """

    name: str
    label: str
    compute: Callable[[np.ndarray, np.ndarray], float]
    higher_is_better: bool
    from_sums: Callable[[np.ndarray], np.ndarray] | None = None


@runtime_checkable
class Head(Protocol):
    """A `torch.nn.Module` that maps features to outputs, with the loss, the metrics and the decoding of the outputs."""

    def __call__(self, features: Features) -> Any:
        """Computes the outputs, in any form that `loss` and `decode` of this head accept.

        Raises:
            PluginError: the head needs a feature that the backbone does not have; best raised when it is built.
        """
        ...

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Returns the loss, a scalar: the mean over the clips of the batch."""
        ...

    def metrics(self) -> Sequence[Metric] | Mapping[str, Sequence[Metric]]:
        """Returns the metrics of the decoded targets, the headline metric first.

        Every decoded target is validated, tested and reported. A sequence belongs to the first decoded target and to
        all others of its kind; targets of another kind have the metrics of that kind from `blear.metrics`. A mapping
        gives target name -> metrics instead. An empty sequence belongs to a head that is trained but not evaluated, for
        instance for pre-training.
        """
        ...

    def decode(self, outputs: Any) -> Mapping[str, Decoded]:
        """Returns target name -> regression values, class probabilities or images."""
        ...
