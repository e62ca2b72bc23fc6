"""What a job may set for the backbones of this plugin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blear.contracts import Params

Pixels = Annotated[int, Field(ge=1)]
Normalisation = Literal["fer2013", "imagenet", "center_loss", "legacy_first_channel_only", "vggface_preproc", "caffe"]
_NORMALISE = (
    "fer2013: (x - 0.507395516207) / 0.255128989415; imagenet: its mean and std of each channel; center_loss: "
    "(x - 127.5) / 128 of bytes; legacy_first_channel_only: fer2013 on red alone, as the authors' library did; "
    "vggface_preproc: BGR bytes minus VGG-Face's means; caffe: BGR bytes minus ImageNet's, as DSN feeds VGG-Face."
)


class FrameParams(Params):
    """What a network does to frames before its first layer."""

    size: tuple[Pixels, Pixels] | None = Field(
        None,
        description="Rows and columns that frames are resized to (bilinear, antialiased) before the network; null: the "
        "size of the stage's clips. Give it where evaluation sees frames of another size than training.",
    )
    width: float = Field(1.0, gt=0, le=4, description="Multiplier of the number of channels; 1 is the published size.")


class VggFaceParams(FrameParams):
    """VGG-Face, 16 layers."""

    layers: Literal["fc7", "fc6"] = Field(
        "fc7",
        description="Where it ends. fc7: the still model, dropout 0.5 after fc6 and fc7; fc6: without dropout, for "
        "video.",
    )
    normalise: Normalisation = Field("fer2013", description=_NORMALISE)


class FaceResnetParams(FrameParams):
    """The face ResNet of the center loss, modified."""

    conv_dropout: float = Field(
        0.0, ge=0, lt=1, description="Dropout after conv1_a and before conv3; 0.4 is the variant with conv drop."
    )
    normalise: Normalisation = Field("imagenet", description=_NORMALISE)
