"""Parameters of the backbones of this plugin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blear.contracts import Params

Pixels = Annotated[int, Field(ge=1)]
Normalisation = Literal[
    "fer2013", "imagenet", "center_loss", "legacy_first_channel_only", "vggface_preproc", "caffe", "caffe_test"
]
_NORMALISE = (
    "fer2013: (x - 0.507395516207) / 0.255128989415; imagenet: its mean and std of each channel; center_loss: "
    "(x - 127.5) / 128 with x in 0..255; legacy_first_channel_only: fer2013 on the red channel only, a bug of the "
    "authors' library; vggface_preproc: BGR in 0..255 minus VGG-Face's means; caffe: BGR in 0..255 minus ImageNet's "
    "means, as DSN trains VGG-Face; caffe_test: the same with the means 104, 117 and 123 of DSN's test script."
)


class FrameParams(Params):
    """Parameters of both networks: input size and width."""

    size: tuple[Pixels, Pixels] | None = Field(
        None,
        description="Height and width of the network's input; frames are resized (bilinear, antialiased). null: the "
        "size of the stage's clips. Needed if frames have another size in evaluation than in training.",
    )
    width: float = Field(1.0, gt=0, le=4, description="Multiplier of the number of channels; 1 is the published size.")


class VggFaceParams(FrameParams):
    """Parameters of `fer/vgg_face`."""

    layers: Literal["fc7", "fc6"] = Field(
        "fc7",
        description="Last layer. fc7: model of stills, dropout 0.5 after fc6 and fc7. fc6: model of video, without "
        "dropout.",
    )
    normalise: Normalisation = Field("fer2013", description=_NORMALISE)


class FaceResnetParams(FrameParams):
    """Parameters of `fer/face_resnet`."""

    conv_dropout: float = Field(
        0.0, ge=0, lt=1, description="Dropout after conv1_a and before conv3. 0.4 is the published variant."
    )
    normalise: Normalisation = Field("imagenet", description=_NORMALISE)
