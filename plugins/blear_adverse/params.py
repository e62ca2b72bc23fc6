"""What a job may set for each component of this plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from blear.contracts import Params

Init = Literal["default", "xavier", "gaussian"]
Part = Literal["stem", "layer1", "layer2", "layer3", "layer4"]
Count = Annotated[int, Field(ge=1)]
Std = Annotated[float, Field(gt=0)]
_INIT = (
    '"default": PyTorch\'s; "xavier": Caffe\'s, uniform by fan-in; "gaussian": deviation 0.001; with the last two, '
    "biases are 0"
)
_HOLD_OUT = 'The last samples of the training files become the split "dev", so that nothing is chosen on the test set'


class MnistParams(Params):
    """Parameters of `adverse/mnist`."""

    source: Path = Field(description="Folder of train-images-idx3-ubyte.gz and the three others, gzipped or not")
    hold_out: int = Field(default=0, ge=0, description=_HOLD_OUT)


class Cifar10Params(Params):
    """Parameters of `adverse/cifar10`."""

    source: Path = Field(description="cifar-10-python.tar.gz, the folder cifar-10-batches-py, or the one that holds it")
    hold_out: int = Field(default=0, ge=0, description=_HOLD_OUT)


class _InputParams(Params):
    mean: float | tuple[float, float, float] = Field(
        default=0.0, description="Subtracted from the frames, which are in [0, 1]; one number, or one for each channel"
    )
    std: Std | tuple[Std, Std, Std] = Field(
        default=1.0, description="The frames are divided by this after the mean is subtracted"
    )


class CnnParams(_InputParams):
    """Parameters of `adverse/cnn`; the defaults are VLQR's recogniser, 2,946,649 parameters with one output."""

    channels: list[Count] = Field(default=[64, 128, 256], min_length=1, description="Filters of conv1, conv2, ...")
    kernels: list[Count] = Field(default=[5, 5, 5], description="Rows and columns of each convolution's filters")
    pools: list[Count] = Field(
        default=[2, 2, 4],
        description="Size and stride of the max pooling after each convolution, rounding up; 1: none. Of all ones, a "
        "front keeps the frames' resolution",
    )
    padded: bool = Field(default=False, description="Zeros around each convolution's input, so that it keeps the size")
    hidden: Count | None = Field(
        default=300, description="Units of the fully connected layer; null: the mean over the last map instead"
    )
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Share of the embedding dropped in training")
    init: Init = Field(default="xavier", description=f"First weights. {_INIT}")
    width: float = Field(default=1.0, gt=0, description="Multiplies the channels and the hidden units")
    until: str | None = Field(
        default=None,
        pattern=r"^conv[1-9]\d*$",
        description="The last convolution of a front: what is behind it is not built, and there is no embedding",
    )

    @model_validator(mode="after")
    def _alike(self) -> CnnParams:
        if not len(self.channels) == len(self.kernels) == len(self.pools):
            raise ValueError(
                f"{len(self.channels)} channels, {len(self.kernels)} kernels and {len(self.pools)} pools: give one of "
                "each for every convolution"
            )
        if self.padded and not all(kernel % 2 for kernel in self.kernels):
            raise ValueError("padded convolutions need odd kernels")
        if self.depth > len(self.channels):
            raise ValueError(f"until {self.until}: there are {len(self.channels)} convolutions")
        return self

    @property
    def depth(self) -> int:
        """How many convolutions are built."""
        return len(self.channels) if self.until is None else int(self.until.removeprefix("conv"))


class ResNet18Params(_InputParams):
    """Parameters of `adverse/resnet18`."""

    stem: Literal["imagenet", "half", "small"] = Field(
        default="imagenet",
        description='"imagenet": 7x7 of stride 2, then a pooling of stride 2; "half": 5x5 of stride 2; "small": 3x3 of '
        "stride 1, for pictures of about 32 pixels; the last two without pooling",
    )
    width: float = Field(default=1.0, gt=0, description="Multiplies the channels 64, 128, 256, 512")
    until: Part | None = Field(
        default=None, description="The last part of a front: what is behind it is not built, and there is no embedding"
    )
    frozen: Part | None = Field(
        default=None,
        description="This part and those before it keep their weights and the statistics of their normalisation; "
        "`scale_lr: 0` alone would let the statistics go on",
    )


class RestorationParams(Params):
    """Parameters of `adverse/restoration`; `channels: [], kernel: 5, padded: false, loss: caffe` is VLQR's."""

    at: str = Field(description="The feature map to restore from: what lies behind it gets no gradient")
    stride: Count | None = Field(
        default=None,
        description="Input pixels for each of the map's, across and down; null: from the sizes, for a padded trunk",
    )
    channels: list[Count] = Field(
        default=[],
        description="Filters of convolutions with ReLU before the last, linear one; empty: that alone, as published",
    )
    kernel: Count = Field(default=3, description="Rows and columns of the convolutions' filters")
    padded: bool = Field(
        default=True,
        description="Zeros around the maps; otherwise the picture loses its border, and so does the target",
    )
    loss: Literal["mean", "caffe"] = Field(
        default="mean",
        description='Squared error: "mean" over pixels; "caffe": halved, summed over pixels, averaged over frames, so '
        "that learning rates are smaller by half the number of values of a frame",
    )
    init: Init = Field(default="default", description=f"First weights. {_INIT}")

    @model_validator(mode="after")
    def _odd(self) -> RestorationParams:
        if self.padded and self.kernel % 2 == 0:
            raise ValueError("padded convolutions need an odd kernel")
        return self
