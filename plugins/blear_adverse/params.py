"""Parameters of the components of this plugin."""

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
    '"default": PyTorch\'s; "xavier": Caffe\'s, uniform by fan-in; "gaussian": standard deviation 0.001; the last two '
    "set biases to 0"
)
_HOLD_OUT = 'Number of last training samples that form the split "dev", for model selection without the test set'


class MnistParams(Params):
    """Parameters of `adverse/mnist`."""

    source: Path = Field(description="Folder of train-images-idx3-ubyte.gz and the other three files, gzipped or not")
    hold_out: int = Field(default=0, ge=0, description=_HOLD_OUT)


class Cifar10Params(Params):
    """Parameters of `adverse/cifar10`."""

    source: Path = Field(description="cifar-10-python.tar.gz, the folder cifar-10-batches-py, or its parent folder")
    hold_out: int = Field(default=0, ge=0, description=_HOLD_OUT)


class _InputParams(Params):
    mean: float | tuple[float, float, float] = Field(
        default=0.0, description="Mean that is subtracted from the frames in [0, 1]; one number, or one per channel"
    )
    std: Std | tuple[Std, Std, Std] = Field(
        default=1.0, description="Divisor of the frames after the subtraction of the mean"
    )


class CnnParams(_InputParams):
    """Parameters of `adverse/cnn`. The defaults give VLQR's recogniser, 2,946,649 parameters with one output."""

    channels: list[Count] = Field(default=[64, 128, 256], min_length=1, description="Filters of conv1, conv2, ...")
    kernels: list[Count] = Field(default=[5, 5, 5], description="Rows and columns of each convolution's filters")
    pools: list[Count] = Field(
        default=[2, 2, 4],
        description="Size and stride of the max pooling after each convolution (`ceil_mode`); 1: no pooling. With all "
        "ones the maps keep the resolution of the frames",
    )
    padded: bool = Field(default=False, description="Zero padding of each convolution, which keeps the size")
    hidden: Count | None = Field(
        default=300, description="Units of the fully connected layer; null: the mean of the last map instead"
    )
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Dropout probability of the embedding in training")
    init: Init = Field(default="xavier", description=f"Initialisation. {_INIT}")
    width: float = Field(default=1.0, gt=0, description="Multiplier of the channels and the hidden units")
    until: str | None = Field(
        default=None,
        pattern=r"^conv[1-9]\d*$",
        description="Last convolution to build, such as conv3; there is no embedding then. null: the whole network",
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
        """Number of convolutions that are built."""
        return len(self.channels) if self.until is None else int(self.until.removeprefix("conv"))


class ResNet18Params(_InputParams):
    """Parameters of `adverse/resnet18`."""

    stem: Literal["imagenet", "half", "small"] = Field(
        default="imagenet",
        description='First layers. "imagenet": 7x7 convolution with stride 2 and pooling with stride 2; "half": 5x5 '
        'with stride 2; "small": 3x3 with stride 1, for pictures of about 32 pixels; the last two without pooling',
    )
    width: float = Field(default=1.0, gt=0, description="Multiplier of the channels 64, 128, 256, 512")
    until: Part | None = Field(
        default=None, description="Last part to build; there is no embedding then. null: the whole network"
    )
    frozen: Part | None = Field(
        default=None,
        description="This part and all before it are frozen: weights and statistics of batch normalisation stay as "
        "loaded. `scale_lr: 0` freezes only the weights",
    )


class RestorationParams(Params):
    """Parameters of `adverse/restoration`. `channels: [], kernel: 5, padded: false, loss: caffe` is VLQR's head."""

    at: str = Field(description="Name of the feature map to restore from. Later layers get no gradient")
    stride: Count | None = Field(
        default=None,
        description="Stride of the feature map in input pixels; null: derived from the sizes, for a padded trunk",
    )
    channels: list[Count] = Field(
        default=[],
        description="Filters of the convolutions with ReLU before the last, linear convolution; empty: only the linear "
        "convolution, as published",
    )
    kernel: Count = Field(default=3, description="Rows and columns of the convolutions' filters")
    padded: bool = Field(
        default=True,
        description="Zero padding; without it the restored picture lacks its border, and the target is cropped alike",
    )
    loss: Literal["mean", "caffe"] = Field(
        default="mean",
        description='Squared error. "mean": averaged over pixels; "caffe": halved, summed over pixels, averaged over '
        "frames; learning rates are then smaller by half the number of values of a frame",
    )
    init: Init = Field(default="default", description=f"Initialisation. {_INIT}")

    @model_validator(mode="after")
    def _odd(self) -> RestorationParams:
        if self.padded and self.kernel % 2 == 0:
            raise ValueError("padded convolutions need an odd kernel")
        return self
