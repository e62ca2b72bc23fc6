"""The types that plugins and the platform exchange: declarations, samples, batches, predictions, and five protocols.

Suffixes of names give the shape of an array or tensor: B clips of a batch, T frames of a clip, C channels, H rows,
W columns, D embedding, K classes, N samples. For example, `frames_BTCHW` has the shape [B, T, C, H, W]. A still image
is a clip with T = 1. Frames on the device are float32 in [0, 1]; a degradation may slightly exceed this range.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict

from blear.imaging import Box, Framing
from blear.random_keys import nested, uniform

if TYPE_CHECKING:
    from torch import Tensor

    from blear.clips import Fit


def _paths(value: Any) -> Iterator[Path]:
    """Yields every path in nested parameters."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _paths(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _paths(inner)


class Params(BaseModel):
    """Base class of a component's parameters. Unknown keys are errors, and every field needs a description.

    Example:
        class TinyParams(Params):
            width: int = Field(16, ge=1, description="channels of the first layer")
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def raw_files(self) -> Sequence[Path]:
        """Returns the files and folders of raw data: shards are written again when one of them changes.

        By default every path among the parameters. Override it if the parameters name files in another way.
        """
        return list(_paths(self.model_dump()))


@dataclass(frozen=True)
class Component:
    """The declaration of one dataset, degradation, backbone, head or locator, returned by a hook.

    Example:
        Component("tiny", "Two convolutions", TinyParams, "my_plugin.models:Tiny", examples=({"width": 8},))

    Attributes:
        name: short name, unique within the plugin, `[A-Za-z][A-Za-z0-9_]*`. The full name is `<plugin>/<name>`.
        summary: one line for `blear plugins` and the report.
        params: a subclass of `Params`. Its fields are the keys that a job may set beside `use`.
        build: a callable, called as `build(params, context)`, or its name "module:attribute", which is imported when
            the component is first built. The name keeps hooks free of heavy imports.
        examples: keyword arguments of `params`; the conformance suite builds and checks each. At least one.
        rename_tables: of a backbone or head, name -> table of parameter names in a published weight file: pattern of a
            name in the file -> name in the module, as `rename` of a job has it. A job names a table
            (`rename: vgg_face_caffe`), and `blear weights FILE --for NAME` proposes one.
    """

    name: str
    summary: str
    params: type[Params]
    build: Callable[..., Any] | str
    examples: Sequence[Mapping[str, Any]] = ({},)
    rename_tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipSpec:
    """The shape of a clip: `length` frames (1 for still images) of `channels` x `height` x `width`.

    Attributes:
        length: frames of a clip; of the longest clip, if clips differ in length.
        channels: 1 for grey images, 3 for RGB.
        height: rows, in pixels.
        width: columns, in pixels.
        shortest: frames of the shortest clip, if clips differ in length; else None. A stage chooses the frames that it
            uses (`frames`); a clip that is too short is extended by repeating its last frame.
    """

    length: int
    channels: int
    height: int
    width: int
    shortest: int | None = None


@dataclass(frozen=True)
class Target:
    """One labelled quantity of a dataset.

    Attributes:
        name: for instance "emotion".
        kind: "class" for classification, with an index into `classes` as label; "value" for regression, with a float;
            "distribution" for soft labels, with the share of each class as label.
        classes: class names, in the order of their indices; empty for "value".
        bounds: smallest and largest value of a regression target; None: unbounded.
    """

    name: str
    kind: Literal["class", "value", "distribution"]
    classes: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class BuildContext:
    """Information about the stage for which a component is built.

    Attributes:
        seed: the job's seed. Weights are initialised under this seed already; datasets may derive random streams of
            their own from it.
        clip: shape of the clips that the component receives; given to backbones, heads and degradations.
        targets: target name -> target of the stage's data; given to heads and degradations.
        features: feature name -> its shape for one clip, without the batch dimension; given to heads.
        counts: name of a class target -> number of samples of each class in the training split; given to heads.
    """

    seed: int = 0
    clip: ClipSpec | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    features: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


Label = int | float | Sequence[float] | np.ndarray
"""The label of one sample: a class index, a regression value, or the shares of K classes."""


@dataclass(frozen=True)
class Sample:
    """One labelled clip from a dataset.

    Attributes:
        key: identifier of the sample, unique within its split and the same each time, `[A-Za-z0-9_/-]+`. Dots are not
            allowed, because WebDataset splits file names at dots.
        frames: [T, H, W, C]; uint8 in 0..255 (stored losslessly as PNG), or float32 in about [0, 1] (stored as npy).
        targets: target name -> class index (int), regression value (float), or the shares of the classes: K numbers
            from 0 that sum to 1 within 1e-4, stored as float32.
        clean: `frames` without the degradation that the raw data already has, possibly at a lower resolution; the
            ground truth of restoration. None: training uses the frames before the job's degradations. Must be None
            in datasets whose clips differ in length.
        subject: identifier of the person, for metrics by person and confidence intervals; empty if unknown.
        video: identifier of the recording, for the same purpose; empty if unknown.
        time: seconds from the start of the recording; None if unknown.
        meta: additional metadata, stored with the sample and usable in a stage's `draw`. Two keys have a meaning and
            become columns of the predictions table: `face_px`, width of the face in pixels, and `found`, 0 if no face
            was detected (the prediction is then left out of pooling and counted as missed).
    """

    key: str
    frames: np.ndarray
    targets: Mapping[str, Label]
    clean: np.ndarray | None = None
    subject: str = ""
    video: str = ""
    time: float | None = None
    meta: Mapping[str, str | int | float] = field(default_factory=dict)


@runtime_checkable
class Dataset(Protocol):
    """Reads raw data in one layout. It is used only while shards are written (`blear prepare`).

    Attributes:
        targets: the labels of each sample.
        splits: names of the splits, the training split first.
        clip: shape of every sample.
        terms: licence and source of the raw data in one or two sentences, stored with the shards. As a class attribute
            it is available before the raw data is.

    Raises:
        DataError: raw data is missing or damaged; names file, row and reason. From any method and from the constructor.
    """

    targets: Sequence[Target]
    splits: Sequence[str]
    clip: ClipSpec
    terms: str

    def parts(self, split: str) -> Sequence[str]:
        """Returns the names of the independent parts of a split, in order. Parts are read in parallel.

        A part is for instance a video or a block of rows.

        Raises:
            DataError: there is no such split.
        """
        ...

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Iterates over the samples of one part: the same samples in the same order each time.

        Raises:
            DataError: there is no such split or part, or a file is damaged.
        """
        ...


@runtime_checkable
class Described(Protocol):
    """Optional addition to `Dataset`: more lines in the output of `blear prepare --describe`."""

    def describe(self) -> Mapping[str, str]:
        """Returns topic -> one line, for instance which raw files are missing, or how many rows are skipped and why."""
        ...


@runtime_checkable
class Framed(Protocol):
    """Optional addition to `Dataset`: states how its faces were cut out of their pictures.

    Attributes:
        framing: stored with the shards and with each trained stage, so that prediction cuts faces alike; None: unknown.
    """

    framing: Framing | None


@runtime_checkable
class GreyRange(Protocol):
    """Optional addition to `Dataset` of grey clips: states how its luma was computed from colour; else full range.

    Attributes:
        grey_range: "full": 0 to 255; "studio": 16 to 235, as `imaging.studio_luma`. Stored with the shards and with
            each trained stage, so that prediction converts colour pictures alike.
    """

    grey_range: Literal["full", "studio"]


@dataclass(frozen=True)
class ShardMembers:
    """The files of one sample in a WebDataset shard that somebody else wrote.

    Attributes:
        key: of the sample, as WebDataset reads it: the path in the archive up to the first dot of the file's name.
        where: names shard and sample in messages.
        suffixes: rest of the file names behind that dot, in lower case: `jpg`, `cls`, `meta.json`.
        read: returns the content of the file with a suffix.
    """

    key: str
    where: str
    suffixes: Sequence[str]
    read: Callable[[str], bytes]


@dataclass(frozen=True)
class ShardSample:
    """A sample whose frames stay in the shard that holds them; all other fields as of `Sample`.

    Attributes:
        frames: suffix of the file that holds the picture, the video, or an array (`npy`).
    """

    key: str
    frames: str
    targets: Mapping[str, Label]
    subject: str = ""
    video: str = ""
    time: float | None = None
    meta: Mapping[str, str | int | float] = field(default_factory=dict)


@runtime_checkable
class InPlace(Protocol):
    """Optional addition to `Dataset`: the raw data are WebDataset shards already, and training reads them in place.

    `parts(split)` are then the paths or URLs of the shards. `blear prepare` indexes each of them and writes no sample.
    Pictures and videos of any size and format are brought to the declared clip when they are decoded into the cache.

    Attributes:
        fit: how a picture gets the size of the clip, see `blear.clips.Fit`; `exact`: it must have that size.
    """

    fit: Fit

    def completed(self, local: Callable[[str], Path]) -> Mapping[str, Any]:
        """Returns values of parameters that the shards determine, for instance class names; called once, first of all.

        The platform adds them to the parameters of the job, so that the shards need not be read again for them.

        Args:
            local: returns the path of an uncompressed copy of a shard on this machine, fetched if it lies at a URL.
        """
        ...

    def shard_sample(self, split: str, part: str, members: ShardMembers) -> ShardSample | None:
        """Reads the labels of one sample of a shard; None if it belongs to another split or is left out.

        Raises:
            DataError: a file is missing or a label is wrong; names shard and sample.
        """
        ...


@dataclass(frozen=True)
class DrawKeys:
    """Counter-based random keys of a batch, one for each sample.

    A key is a function of (seed, epoch, sample, operation) only. A sample therefore draws the same numbers in the same
    epoch on every worker, in every batch and after every resume.

    Attributes:
        seed: the job's seed.
        operation: number of the random stream; every operation of a job has its own.
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
