"""Parameters of the codecs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from blear.contracts import Params
from blear.errors import PluginError
from blear_codec.codecs import CODECS, Structure, require_codec

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Kbps = Annotated[float, Field(ge=1, le=1e5, allow_inf_nan=False)]  # the range that x264 and SVT-AV1 accept
Quality = Annotated[int, Field(ge=1, le=100)]
Shrink = Annotated[float, Field(ge=1, le=64, allow_inf_nan=False)]


def _check_mixture(values: object) -> None:
    """Raises a ValueError if values or weights are no valid distribution."""
    if not isinstance(values, dict | list):
        return
    if not values:
        raise ValueError("a mixture needs at least one value")
    if isinstance(values, dict) and not sum(values.values()) > 0:
        raise ValueError("the weights are all 0; give at least one value a positive weight")
    if len(set(values)) < len(values):
        raise ValueError("a value is listed twice; write {value: weight} to prefer one")


class VideoParams(Params):
    """Parameters common to all video codecs."""

    codec: ClassVar[str]

    crf: int | list[int] | dict[int, Weight] | None = Field(
        None,
        description="Constant quality, larger is worse; a list or {value: weight} is drawn from for each clip. Of "
        "mpeg4 and mjpeg the quantiser. Null without `kbps`: the middle one of the codec's levels.",
    )
    kbps: Kbps | list[Kbps] | dict[Kbps, Weight] | None = Field(
        None, description="Aimed-at rate in kilobits a second instead of `crf`; short clips only come near it."
    )
    qp: int | list[int] | dict[int, Weight] | None = Field(
        None,
        description="Constant quantiser of all frames instead of `crf`, as in tests of video coding for machines (22, "
        "27, 32, 37, 42, 47). Not for mpeg4 and mjpeg, whose `crf` is their quantiser.",
    )
    structure: Structure = Field(
        "default",
        description="Frame types: default of the encoder; low_delay: no frame refers to a later one, no look-ahead; "
        "all_intra: every frame is a key frame.",
    )
    shrink: Shrink | list[Shrink] | dict[Shrink, Weight] = Field(
        1.0,
        description="Divisor of width and height before the encoder (rounded to even); frames are upscaled after "
        "the decoder; both bicubic. A list or {value: weight} is drawn from for each clip. The bit rate is that of the "
        "small video.",
    )
    gop: int = Field(50, ge=1, le=600, description="Maximum distance of two key frames, in frames.")
    fps: float = Field(25.0, ge=1, le=240, description="Frames per second of the clips, for the bit rate.")
    drop: float = Field(
        0.0, ge=0, le=1, description="Probability that a frame is dropped before encoding; the previous frame is shown."
    )
    loss: float = Field(
        0.0, ge=0, le=1, description="Probability that the packet of a frame is lost; the decoder conceals the loss."
    )
    repeat: int = Field(
        4, ge=1, le=250, description="Number of equal frames as which a still is coded; the last decoded frame is used."
    )
    frozen: bool = Field(False, description="Use each clip's first draw in all epochs, like offline degradation.")

    @field_validator("crf", "qp", "kbps", "shrink")
    @classmethod
    def _mixture(cls, values: object) -> object:
        _check_mixture(values)
        return values

    @model_validator(mode="after")
    def _possible(self) -> Self:
        codec = CODECS[self.codec]
        given = [name for name in ("crf", "qp", "kbps") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
        if self.qp is not None and codec.qp is None:
            raise ValueError(f"crf is the quantiser of {codec.label}; give crf instead of qp")
        for name, value, limits in (("crf", self.crf, codec.crf), ("qp", self.qp, codec.qp or codec.crf)):
            values = [] if value is None else [value] if isinstance(value, int) else list(value)
            wrong = [one for one in values if not limits[0] <= one <= limits[1]]
            if wrong:
                what = f"{name} of {codec.label} lies in {limits[0]}..{limits[1]}"
                raise ValueError(f"{what}, not {', '.join(map(str, wrong))}")
        preset = getattr(self, "preset", "")
        if preset and preset not in codec.presets:
            raise ValueError(f"{codec.label} has no preset {preset!r}; known: {', '.join(sorted(codec.presets))}")
        try:
            require_codec(codec)
        except PluginError as error:
            raise ValueError(f"{error.what}; {error.do}") from error
        return self


class H264Params(VideoParams):
    """H.264 by x264."""

    codec: ClassVar[str] = "h264"
    preset: str = Field(CODECS["h264"].presets[0], description="Preset of x264, ultrafast to veryslow.")


class HevcParams(VideoParams):
    """HEVC by x265."""

    codec: ClassVar[str] = "hevc"
    preset: str = Field(CODECS["hevc"].presets[0], description="Preset of x265, ultrafast to veryslow.")


class Av1Params(VideoParams):
    """AV1 by SVT-AV1."""

    codec: ClassVar[str] = "av1"
    preset: str = Field(CODECS["av1"].presets[0], description="Preset of SVT-AV1, 0 (slow) to 13 (fast).")


class Vp9Params(VideoParams):
    """VP9 by libvpx, realtime."""

    codec: ClassVar[str] = "vp9"
    preset: str = Field(CODECS["vp9"].presets[0], description="`cpu-used` of libvpx, 0 (slow) to 8 (fast).")


class Mpeg4Params(VideoParams):
    """MPEG-4 Part 2 by FFmpeg."""

    codec: ClassVar[str] = "mpeg4"


class MjpegParams(VideoParams):
    """Motion JPEG by FFmpeg."""

    codec: ClassVar[str] = "mjpeg"


class JpegParams(Params):
    """JPEG by libjpeg with 4:2:0 chroma, each frame independently."""

    quality: Quality | list[Quality] | dict[Quality, Weight] = Field(
        50, description="libjpeg's quality, 1 to 100; a list or {value: weight} is drawn from for each clip."
    )
    fps: float = Field(25.0, ge=1, le=240, description="Frames per second of the clips, for the bit rate.")
    frozen: bool = Field(False, description="Use each clip's first draw in all epochs, like offline degradation.")

    @field_validator("quality")
    @classmethod
    def _mixture(cls, values: object) -> object:
        _check_mixture(values)
        return values
