"""The codecs: which encoder and decoder of FFmpeg each one is, its ranges, and its encoder's options.

The PyAV wheels hold all of these encoders: libx264, libx265, libsvtav1, libvpx-vp9, mpeg4, mjpeg. Another build may
lack some; `require_codec` says which.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from blear.errors import PluginError

_UNLIMITED_BIT_RATE = "1000000000"  # bits per second that no quantiser above 0 reaches


@dataclass(frozen=True)
class Settings:
    """How a clip is coded; exactly one of `crf` and `kbps`.

    Attributes:
        codec: a name in `CODECS`.
        crf: constant quality; of MPEG-4 and Motion JPEG, which have no such mode, the fixed quantiser.
        kbps: aimed-at rate in kilobits (1000) per second.
        gop: most frames from one key frame to the next.
        preset: speed of the encoder, as it names it; empty where it has none.
        fps: frames per second; the rate depends on it.
        shrink: what width and height are divided by before the encoder; the decoded frames are enlarged again.
    """

    codec: str
    crf: int | None = None
    kbps: float | None = None
    gop: int = 50
    preset: str = ""
    fps: float = 25.0
    shrink: float = 1.0


@dataclass(frozen=True)
class Codec:
    """One codec.

    Attributes:
        name: the component's name.
        label: what people call it.
        encoder, decoder: names in FFmpeg.
        pixels: pixel format; "yuvj420p" is yuv420p with values in 0..255 instead of 16..235.
        least: smallest width and height that the encoder takes, in pixels; below its coding tree unit of 64 x265
            writes beyond its memory at some sizes.
        crf: smallest and largest quality number.
        levels: quality numbers of the default sweep, mildest first; the middle one is the default.
        presets: names of the presets, the default first; empty: the encoder has none.
        options: settings -> options of the encoder beside those of `options_of`.
    """

    name: str
    label: str
    encoder: str
    decoder: str
    pixels: str
    min_side: int
    crf: tuple[int, int]
    levels: tuple[int, ...]
    presets: tuple[str, ...]
    options: Callable[[Settings], dict[str, str]]

    @property
    def default_crf(self) -> int:
        """What a job gets that names neither a quality nor a rate."""
        return self.levels[len(self.levels) // 2]


def options_of(settings: Settings) -> dict[str, str]:
    """Everything that the encoder is told, as FFmpeg's options; one thread, no text about the encoder in the stream."""
    codec = CODECS[settings.codec]
    options = {"g": str(settings.gop), "flags": "+bitexact"}
    if settings.kbps is not None:
        options["b"] = str(round(settings.kbps * 1000))
    return options | codec.options(settings)


def require_codec(codec: Codec) -> None:
    """Makes the codec ready.

    Raises:
        PluginError: this FFmpeg lacks its encoder or decoder, which it names.
    """
    import av

    if "SVT_LOG" not in os.environ:
        os.environ["SVT_LOG"] = "1"  # errors only: SVT-AV1 else writes a page to stderr for each clip
    try:
        role, name = "encoder", codec.encoder
        av.Codec(name, "w")
        role, name = "decoder", codec.decoder
        av.Codec(name, "r")
    except av.codec.codec.UnknownCodecError as error:
        what = f"the installed PyAV has no {role} {name!r} for {codec.label}"
        do = "install PyAV's own wheel (pip install --force-reinstall --no-deps av) or choose another codec"
        raise PluginError(what, f"codec/{codec.name}", do) from error


def _crf_options(settings: Settings) -> dict[str, str]:
    return {} if settings.crf is None else {"crf": str(settings.crf)}


def _rate_control(settings: Settings) -> dict[str, str]:
    """A buffer of half a second, and of two frames at least, so that short clips come near their rate."""
    if settings.kbps is None:
        return {}
    rate = round(settings.kbps * 1000)
    return {"maxrate": str(rate), "bufsize": str(round(rate * max(0.5, 2 / settings.fps)))}


def _h264(settings: Settings) -> dict[str, str]:
    # x264's macroblock tree makes of the same short clip now these bits, now those: it depends on what memory held.
    return {"preset": settings.preset, "mbtree": "0"} | _crf_options(settings) | _rate_control(settings)


def _hevc(settings: Settings) -> dict[str, str]:
    # So does x265 where a picture is one coding tree unit of 64 wide or high.
    own = "log-level=none:info=0:pools=none:frame-threads=1:ctu=32"
    return {"preset": settings.preset, "x265-params": own} | _crf_options(settings) | _rate_control(settings)


def _av1(settings: Settings) -> dict[str, str]:
    if settings.kbps is None:
        return {"preset": settings.preset, "svtav1-params": "lp=1"} | _crf_options(settings)
    # Only frames in their order, at a constant rate: its variable rate takes three times too much for short clips.
    return {"preset": settings.preset, "svtav1-params": "lp=1:pred-struct=1:rc=2"}


def _vp9(settings: Settings) -> dict[str, str]:
    fast = {"deadline": "realtime", "cpu-used": settings.preset, "lag-in-frames": "0"}
    capped = _rate_control(settings)
    rate = capped | {"minrate": capped["maxrate"]} if capped else {"b": "0"}
    return fast | rate | _crf_options(settings)


def _quantiser_options(settings: Settings) -> dict[str, str]:
    if settings.crf is None:
        return _rate_control(settings)
    return {"qmin": str(settings.crf), "qmax": str(settings.crf), "b": _UNLIMITED_BIT_RATE}


_X26X_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


def _default_first(default: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return (default, *(name for name in names if name != default))


CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec(
            "h264", "H.264", "libx264", "h264", "yuv420p", 2, (0, 51), (18, 23, 28, 33, 38, 43, 48),
            _default_first("medium", _X26X_PRESETS), _h264,
        ),
        Codec(
            "hevc", "HEVC", "libx265", "hevc", "yuv420p", 64, (0, 51), (18, 23, 28, 33, 38, 43, 48),
            _default_first("veryfast", _X26X_PRESETS), _hevc,
        ),
        Codec(
            "av1", "AV1", "libsvtav1", "libdav1d", "yuv420p", 64, (1, 63), (20, 28, 36, 44, 52, 58, 63),
            _default_first("8", tuple(map(str, range(14)))), _av1,
        ),
        Codec(
            "vp9", "VP9", "libvpx-vp9", "vp9", "yuv420p", 2, (0, 63), (20, 28, 36, 44, 52, 58, 63),
            _default_first("5", tuple(map(str, range(9)))), _vp9,
        ),
        Codec(
            "mpeg4", "MPEG-4 Part 2", "mpeg4", "mpeg4", "yuv420p", 2, (1, 31), (2, 4, 6, 10, 16, 22, 31), (),
            _quantiser_options,
        ),
        Codec(
            "mjpeg", "Motion JPEG", "mjpeg", "mjpeg", "yuvj420p", 2, (1, 31), (2, 4, 6, 10, 16, 22, 31), (),
            _quantiser_options,
        ),
    )
}  # fmt: skip
"""Name -> codec."""
