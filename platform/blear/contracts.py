"""What crosses the hooks: declarations, samples, batches, predictions, and the five protocols.

Shape suffixes in names: B clips of a batch, T frames of a clip, C channels, H rows, W columns, D embedding, K classes.
A still image is a clip with T = 1. Frames on the device are float32 in [0, 1] (a degradation may overshoot a little).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict

from blear.imaging import Box
from blear.random_keys import nested, uniform

if TYPE_CHECKING:
    from torch import Tensor


class Params(BaseModel):
    """Base of a component's parameters: unknown keys are refused; every field carries a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Component:
    """Declares one dataset, degradation, backbone, head or locator. Cheap to make: `build` may be a lazy "module:attr".

    Attributes:
        name: short name, unique within the plugin, `[A-Za-z0-9_]+`; the full name is `<plugin>/<name>`.
        summary: one line for `blear plugins` and the report.
        params: a `Params` model; its fields are the keys that a job may give beside `use`.
        build: called as `build(params, context)`; an object or "module:attr", imported when first built.
        examples: keyword sets for `params` that the conformance tests build; at least one.
    """

    name: str
    summary: str
    params: type[Params]
    build: Callable[..., Any] | str
    examples: Sequence[Mapping[str, Any]] = ({},)


@dataclass(frozen=True)
class ClipSpec:
    """Shape of one clip as training sees it: `length` frames (1 for stills) of `channels` x `height` x `width`.

    Attributes:
        shortest: of a dataset whose clips differ in length: fewest frames of one, `length` being the most. A stage
            chooses which frames it sees; what a clip lacks is its last frame repeated.
    """

    length: int
    channels: int
    height: int
    width: int
    shortest: int | None = None


@dataclass(frozen=True)
class Target:
    """One labelled quantity. `kind` "class" holds an index into `classes`; "value" a float within `bounds`."""

    name: str
    kind: Literal["class", "value"]
    classes: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class BuildContext:
    """What a component may know when it is built.

    Attributes:
        seed: the job's seed (weights are initialised under it already; datasets may derive their own streams).
        clip: shape of the clips of the stage's data (backbones, heads, degradations).
        targets: labelled quantities of the stage's data by name (heads).
        features: name -> shape of one clip's feature, without the batch dimension (heads).
        counts: name of a class target -> samples of each class in the split that is trained on (heads).
    """

    seed: int = 0
    clip: ClipSpec | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    features: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One labelled clip as a dataset reads it.

    Attributes:
        key: stable and unique within its split, `[A-Za-z0-9_/-]+`, no dots (WebDataset splits names at dots).
        frames: uint8 in 0..255 (stored losslessly as PNG), or float32 in about [0, 1] (stored as npy), [T, H, W, C].
        targets: target name -> class index (int) or value (float).
        clean: what `frames` would be without the degradation they carry already, possibly smaller; None: nothing known,
            training then takes the frames before the job's own degradations. Not for clips that differ in length.
        subject, video: who and which recording, for grouped metrics and intervals; empty when unknown.
        time: seconds from the start of the recording.
        meta: further facts, by which `draw` can choose. Two go into the predictions table: `face_px`, the face's width,
            and `found`, 0 where there is no face, so that the prediction is pooled and counted as missed.
    """

    key: str
    frames: np.ndarray
    targets: Mapping[str, int | float]
    clean: np.ndarray | None = None
    subject: str = ""
    video: str = ""
    time: float | None = None
    meta: Mapping[str, str | int | float] = field(default_factory=dict)


@runtime_checkable
class Dataset(Protocol):
    """A reader of one raw layout. Bad raw data raises `DataError` naming file, row and reason.

    Attributes:
        targets: what each sample is labelled with.
        splits: names of the splits, the training split first.
        clip: shape of every sample.
        terms: licence and source of the raw data, where to get it, one or two sentences, kept beside the shards; best
            an attribute of the class, so that it is known where the data are not there yet.
    """

    targets: Sequence[Target]
    splits: Sequence[str]
    clip: ClipSpec
    terms: str

    def parts(self, split: str) -> Sequence[str]:
        """Names of independent pieces of a split (a video, a block of rows), in order; read in parallel."""
        ...

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """The samples of one part, always the same ones in the same order."""
        ...


@runtime_checkable
class Described(Protocol):
    """A dataset that says more in `blear prepare --describe`. Optional: a dataset need not have it."""

    def describe(self) -> Mapping[str, str]:
        """What -> one line on it, for instance what is missing of the raw data, or what is left out and how often."""
        ...


@dataclass(frozen=True)
class DrawKeys:
    """Counter-based random keys of a batch: one for each sample, a pure function of (seed, epoch, sample, operation).

    The same sample in the same epoch draws the same, on any worker, after any resume. Epochs are per sample because a
    batch may span two.

    Attributes:
        operation: number of the random stream.
        progress: fraction of the stage's steps that were made before the batch, by which strengths may change while
            training: 0 in the first step. 1 in validation and evaluation: the end of every schedule.
    """

    seed: int
    operation: int
    epochs_B: np.ndarray
    samples_B: np.ndarray
    progress: float = 1.0

    def uniform(self, n: int = 1) -> np.ndarray:
        """Float64 in [0, 1), shape [B, n]; column j is stream j of each sample."""
        return uniform(self.seed, self.operation, self.epochs_B, self.samples_B, n)

    def frozen(self) -> DrawKeys:
        """The same keys with the epoch left out: one draw per sample for all epochs."""
        return replace(self, epochs_B=np.zeros_like(self.epochs_B))

    def nested(self, index: int) -> DrawKeys:
        """Keys of part `index` of an operation: a random stream of its own, whatever other parts there are."""
        return replace(self, operation=nested(self.operation, index))

    def take(self, which_K: np.ndarray) -> DrawKeys:
        """The keys of some of the samples, by their places in the batch."""
        return replace(self, epochs_B=self.epochs_B[which_K], samples_B=self.samples_B[which_K])


Draws = dict[str, "Tensor"]
"""What a degradation drew for a batch: tensors whose first dimension is B."""


@runtime_checkable
class Degradation(Protocol):
    """A batched operation on frames, on the device, with its own strength for each sample."""

    def draw(self, keys: DrawKeys) -> Draws:
        """Draws the strengths of B samples, on the CPU; a pure function of the keys."""
        ...

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Degraded frames of the same dtype; draws lie on the frames' device. Per clip: all T frames alike."""
        ...

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Parameters of this component at each severity that evaluation sweeps by default, mildest first."""
        ...


@runtime_checkable
class Separable(Degradation, Protocol):
    """A degradation that is linear and acts on rows and on columns apart: neighbours in a chain become one operator.

    Optional. `apply` must give what `blear.separable.apply_operators` makes of the operators, but for rounding.
    """

    def operators(self, draws: Draws, height: int, width: int) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Each sample's matrices for frames of height x width, float32 [B, out, in], on the draws' device.

        Returns:
            The matrices along the rows' axis and those along the columns' axis, each in the order in which they act;
            the first have `in` = height and width. Every sample's operator gives frames of one size.
        """
        ...


@runtime_checkable
class Resizing(Degradation, Protocol):
    """A degradation that changes the frames' size. Where it augments a stage, evaluation must change the size alike."""

    def for_evaluation(self) -> Degradation:
        """What evaluation does in its place, without a draw: of a random crop, the centre crop."""
        ...


@runtime_checkable
class Coding(Degradation, Protocol):
    """A degradation that spends bits: a codec. Evaluation notes the rate of each clip in the predictions table."""

    def apply_coded(self, frames_BTCHW: Tensor, draws: Draws) -> tuple[Tensor, np.ndarray]:
        """The frames that `apply` gives, and the coded payload of each clip in kbit/s, float64 [B]; NaN: not coded."""
        ...


@runtime_checkable
class OnCpu(Degradation, Protocol):
    """A degradation that may say that it works on the CPU wherever the frames lie, as codecs do.

    Training lets those that `degrade` begins with run ahead of the steps, in several threads at a time.

    Attributes:
        on_cpu: whether it does.
    """

    on_cpu: bool


Features = dict[str, "Tensor"]
"""Name -> tensor: `embedding` is [B, T, D], feature maps are [B, T, C, h, w]."""


@runtime_checkable
class Backbone(Protocol):
    """A `torch.nn.Module` from frames to named features; parameter names are its public names for weight transfer."""

    def __call__(self, frames_BTCHW: Tensor) -> Features:
        """Features of a batch of clips."""
        ...


@dataclass(frozen=True)
class Batch:
    """One batch on the device.

    Attributes:
        frames_BTCHW: degraded frames, float32 in [0, 1].
        clean_BTCHW: the frames before the job's degradations, or the sample's own `clean`.
        targets: target name -> int64 [B] class index or float32 [B] value.
    """

    frames_BTCHW: Tensor
    clean_BTCHW: Tensor
    targets: Mapping[str, Tensor]


@dataclass(frozen=True)
class Values:
    """Decoded regression: float [B, T]; T = 1 for one value per clip."""

    values_BT: Tensor


@dataclass(frozen=True)
class Categories:
    """Decoded classification: class names and probabilities [B, T, K]; T = 1 for one decision per clip."""

    classes: tuple[str, ...]
    probabilities_BTK: Tensor


@dataclass(frozen=True)
class Images:
    """Decoded images [B, T, C, h, w] in about [0, 1]; smaller than the input where convolutions are unpadded."""

    frames_BTCHW: Tensor


Decoded = Values | Categories | Images


@dataclass(frozen=True)
class Metric:
    """A number computed from the predictions of one arm at one condition; a pure function.

    Attributes:
        name: column name, for instance "ccc"; `label` is how a chart names it.
        compute: `compute(truth_N, prediction_N)`; for classes both are indices, for values both are floats.
        higher_is_better: the direction, never guessed from the name.
        from_sums: the same from sums over samples, for many resamples at once; of classes, confusion counts
            [..., K, K] (row = true class) -> [...]; of values, moments [..., 6] (`metrics.moments`) -> [...]; NaN where
            undefined. None: `compute` is called for each resample, which is over ten times slower.
    """

    name: str
    label: str
    compute: Callable[[np.ndarray, np.ndarray], float]
    higher_is_better: bool
    from_sums: Callable[[np.ndarray], np.ndarray] | None = None


@runtime_checkable
class Head(Protocol):
    """A `torch.nn.Module` from features to outputs."""

    def __call__(self, features: Features) -> Any:
        """Outputs, in whatever form `loss` and `decode` of this head take."""
        ...

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """A scalar, the mean over the clips of the batch."""
        ...

    def metrics(self) -> Sequence[Metric]:
        """Metrics of the first decoded target, the headline first; empty for a head that is only trained on the way."""
        ...

    def decode(self, outputs: Any) -> Mapping[str, Decoded]:
        """Target name -> what a person reads."""
        ...


@runtime_checkable
class Detection(Protocol):
    """One detected face.

    Attributes:
        box: the face in pixels of the frame, 0-based; it may reach beyond the frame's border.
    """

    @property
    def box(self) -> Box: ...


@runtime_checkable
class Locator(Protocol):
    """A face detector. It is built with an empty `BuildContext`."""

    def faces(self, frames_THWC: np.ndarray) -> Sequence[Sequence[Detection]]:
        """Detects the faces of each frame, the most prominent face first.

        Args:
            frames_THWC: RGB uint8 [T, H, W, 3]; T may be 0.

        Returns:
            T sequences; an empty one for a frame without a face.

        Raises:
            ValueError: the frames have another dtype or shape.
        """
        ...
