"""Parameters of the networks and heads of this plugin. Defaults are the published values."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from blear.contracts import Params


class TrunkParams(Params):
    """Parameters of all trunks."""

    size: int = Field(
        default=224, ge=16, description="Maximum height and width of the input; larger frames are centre-cropped"
    )
    normalise: Literal["caffe", "torchvision"] = Field(
        default="caffe",
        description='Normalisation. "caffe": BGR in 0..255 minus `mean`, for weights from Caffe; "torchvision": RGB '
        "with ImageNet's mean and standard deviation",
    )
    mean: tuple[float, float, float] = Field(
        default=(103.939, 116.779, 123.68), description='Means of B, G and R in 0..255, for "caffe"'
    )
    width: float = Field(default=1.0, gt=0, le=4, description="Multiplier of every number of channels")


class VggParams(TrunkParams):
    """Parameters of `dsn/vgg`."""


class ResnetParams(TrunkParams):
    """Parameters of `dsn/resnet50`."""

    layers: Literal[50, 101] = Field(
        default=50, description="Number of layers: 50 as named in the paper, or 101 as defined in the authors' file"
    )
    dilated: bool = Field(
        default=False,
        description="true: the last group has stride 1 and dilation 2, as in the authors' file: 14 rows at 224; false: "
        "stride 2, as in the usual ResNet: 7 rows",
    )
    norm: Literal["frozen", "trained"] = Field(
        default="frozen",
        description='Batch normalisation. "frozen": statistics, scale and shift stay as loaded; "trained": for '
        "training without loaded weights",
    )
    conv1_bias: bool = Field(
        default=False,
        description="conv1 has a bias, as in ResNet-50-model.caffemodel; ResNet-101's and DSN's files have none",
    )


class DensenetParams(TrunkParams):
    """Parameters of `dsn/densenet121`."""

    ceil_mode: bool = Field(
        default=False,
        description="true: poolings round up, as in the authors' file: 57, 29, 15 and 8 rows at 224; false: they round "
        "down, as in torchvision: 56, 28, 14 and 7",
    )


class SideOutputsParams(Params):
    """Parameters of `dsn/side_outputs`."""

    target: str = Field(default="emotion", description="Name of the class target")
    width: float = Field(default=1.0, gt=0, le=4, description="Multiplier of the channels of the side convolutions")
    crop: Literal["aligned", "top_left"] = Field(
        default="aligned",
        description='Crop of an upsampled map. "aligned": the centre; "top_left": as in mainline Caffe',
    )
    init: Literal["gaussian", "xavier"] = Field(
        default="gaussian",
        description='Initialisation. "gaussian": standard deviation 0.01, as published; "xavier": Caffe\'s, uniform by '
        "fan-in, which learns faster without loaded weights",
    )
    fuse_order: Literal["ascending", "deepest_first"] = Field(
        default="ascending",
        description='Order of the maps in the fusion, for weights from a file. "ascending": stage 1 (or 2) to 6, as in '
        "DSN-VGG's file; \"deepest_first\": stage 6, then 2 to 5, as in DSN-ResNet's file",
    )
    reduce: int | None = Field(
        default=None,
        ge=1,
        description="Number of channels (times `width`) to which a 1x1 convolution reduces wider features before the "
        "side convolutions; 256 saves 27 million parameters on ResNet-50. null: no reduction, as published",
    )


class TwoLinearParams(Params):
    """Parameters of `dsn/two_linear`."""

    target: str = Field(default="emotion", description="Name of the class target")
    dropout: float = Field(
        default=0.5, ge=0, lt=1, description="Dropout probability of the first layer's outputs in training"
    )
