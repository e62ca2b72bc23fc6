"""The keys that a job may give to each network and head of this plugin; defaults are the published values."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from blear.contracts import Params


class TrunkParams(Params):
    """What every trunk takes."""

    size: int = Field(
        default=224, ge=16, description="Largest height and width the network sees: the centre of larger frames"
    )
    normalise: Literal["caffe", "torchvision"] = Field(
        default="caffe",
        description='"caffe": BGR in 0..255 minus `mean`, as imported Caffe weights expect; "torchvision": RGB, '
        "ImageNet's mean and deviation",
    )
    mean: tuple[float, float, float] = Field(
        default=(103.939, 116.779, 123.68), description='Mean of B, G and R in 0..255, for "caffe"'
    )
    width: float = Field(default=1.0, gt=0, le=4, description="Multiplies every number of channels")


class VggParams(TrunkParams):
    """Parameters of `dsn/vgg`."""


class ResnetParams(TrunkParams):
    """Parameters of `dsn/resnet50`."""

    layers: Literal[50, 101] = Field(
        default=50, description="50, the paper's name; 101 is what the authors' file really defines"
    )
    norm: Literal["frozen", "trained"] = Field(
        default="frozen",
        description='Batch normalisation: "frozen" keeps statistics, scale and shift as they were loaded; "trained" is '
        "for training without given weights",
    )


class DensenetParams(TrunkParams):
    """Parameters of `dsn/densenet121`."""


class SideOutputsParams(Params):
    """Parameters of `dsn/side_outputs`."""

    target: str = Field(default="emotion", description="Name of the class target that is learnt")
    width: float = Field(default=1.0, gt=0, le=4, description="Multiplies the channels of the side convolutions")
    crop: Literal["aligned", "top_left"] = Field(
        default="aligned",
        description='Which part of an enlarged map is kept: "aligned" the centre; "top_left", as mainline Caffe does',
    )
    init: Literal["gaussian", "xavier"] = Field(
        default="gaussian",
        description='First weights: "gaussian" of deviation 0.01, as published; "xavier": Caffe\'s, uniform by fan-in, '
        "learns sooner without given weights",
    )
    reduce: int | None = Field(
        default=None,
        ge=1,
        description="Lean variant: 1x1 convolutions reduce wider features to so many channels (times `width`) before "
        "the side convolutions; 256 takes 27 million parameters off ResNet-50's. Null: as published",
    )


class TwoLinearParams(Params):
    """Parameters of `dsn/two_linear`."""

    target: str = Field(default="emotion", description="Name of the class target that is learnt")
    dropout: float = Field(
        default=0.5, ge=0, lt=1, description="Share of the first layer's outputs dropped in training"
    )
