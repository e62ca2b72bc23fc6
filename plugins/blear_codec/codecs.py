"""The codecs: FFmpeg's encoder and decoder of each, the range of its quality, and the options of its encoder.

The wheels of PyAV contain all encoders: libx264, libx265, libsvtav1, libvpx-vp9, mpeg4, mjpeg. Other builds of FFmpeg
may lack some of them; `require_codec` reports a missing one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from blear.errors import PluginError

Structure = Literal["default", "low_delay", "all_intra"]
_UNLIMITED_BIT_RATE = "1000000000"  # bits per second; no quantiser above 0 reaches it
_AV1_NO_OFFSETS = "use-fixed-qindex-offsets=1:key-frame-qindex-offset=0:qindex-offsets=[0,0,0,0,0,0]"
"""SVT-AV1's default is a smaller quantiser in key frames and in the lower of six temporal layers."""


@dataclass(frozen=True)
class Settings:
    """Encoder settings of a clip. Exactly one of `crf`, `qp` and `kbps` is set.

    Attributes:
        codec: a name in `CODECS`.
        crf: constant rate factor; for MPEG-4 and Motion JPEG, which have none, the fixed quantiser.
        qp: constant quantiser of all frames, of key frames too; not for MPEG-4 and Motion JPEG.
        kbps: target bit rate in kilobits (1000 bits) per second.
        structure: order and types of the frames. "default": those of the encoder; "low_delay": no frame refers to a
            later one, and the encoder looks at no later one; "all_intra": every frame is a key frame.
        gop: maximum distance of two key frames, in frames.
        preset: speed preset of the encoder; empty if it has none.
        fps: frames per second, for the bit rate.
        shrink: divisor of width and height before the encoder. Decoded frames are upscaled to the original size.
    """

    codec: str
    crf: int | None = None
    kbps: float | None = None
    qp: int | None = None
    structure: Structure = "default"
    gop: int = 50
    preset: str = ""
    fps: float = 25.0
    shrink: float = 1.0


@dataclass(frozen=True)
class Codec:
    """One codec.

    Attributes:
        name: name of the component.
        label: name for messages and reports.
        encoder, decoder: names in FFmpeg.
        pixels: pixel format; "yuvj420p" is yuv420p with values in 0..255 instead of 16..235.
        min_side: minimum width and height of the encoder's input in pixels. For x265 it is the coding tree unit of 64:
            at some smaller sizes x265 writes beyond its buffers.
        crf: range of the quality number (constant rate factor or quantiser), inclusive.
        levels: quality numbers of the default sweep, mildest first. The middle one is the default.
        presets: names of the presets, the default first; empty if the encoder has none.
        options: settings -> options of the encoder, in addition to those of `options_of`.
        qp: range of the constant quantiser, inclusive; None: `crf` is the quantiser.
        qp_levels: quantisers of the default sweep, mildest first.
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
    qp: tuple[int, int] | None = None
    qp_levels: tuple[int, ...] = ()

    @property
    def default_crf(self) -> int:
        """The quality number if a job sets neither quality nor bit rate."""
        return self.levels[len(self.levels) // 2]


def options_of(settings: Settings) -> dict[str, str]:
    """Returns all FFmpeg options of the encoder. `bitexact` keeps the encoder's name out of the stream."""
    codec = CODECS[settings.codec]
    options = {"g": "1" if settings.structure == "all_intra" else str(settings.gop), "flags": "+bitexact"}
    if settings.kbps is not None:
        options["b"] = str(round(settings.kbps * 1000))
    return options | codec.options(settings)


def require_codec(codec: Codec) -> None:
    """Checks that FFmpeg has the encoder and the decoder of a codec.

    Raises:
        PluginError: the encoder or the decoder is missing; the message names it.
    """
    import av

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


def _quality(settings: Settings) -> dict[str, str]:
    return _crf_options(settings) if settings.qp is None else {"qp": str(settings.qp)}


def _rate_control(settings: Settings) -> dict[str, str]:
    """Returns maximum rate and buffer size. Half a second, or at least two frames: short clips stay near the target."""
    if settings.kbps is None:
        return {}
    rate = round(settings.kbps * 1000)
    return {"maxrate": str(rate), "bufsize": str(round(rate * max(0.5, 2 / settings.fps)))}


def _h264(settings: Settings) -> dict[str, str]:
    # without mbtree=0, x264 reads uninitialised memory for short clips: their bits would vary between runs
    own = [] if settings.qp is None else ["ipratio=1", "pbratio=1"]  # key frames have the quantiser of the others
    own += ["bframes=0", "rc-lookahead=0", "sync-lookahead=0"] if settings.structure == "low_delay" else []
    params = {"x264-params": ":".join(own)} if own else {}
    return {"preset": settings.preset, "mbtree": "0"} | params | _quality(settings) | _rate_control(settings)


def _hevc(settings: Settings) -> dict[str, str]:
    # likewise x265 without ctu=32, if a picture is one coding tree unit of 64 wide or high
    own = "log-level=none:info=0:pools=none:frame-threads=1:ctu=32"
    own += "" if settings.qp is None else f":qp={settings.qp}:ipratio=1:pbratio=1"
    own += ":bframes=0:b-adapt=0:rc-lookahead=0:scenecut=0" if settings.structure == "low_delay" else ""
    return {"preset": settings.preset, "x265-params": own} | _crf_options(settings) | _rate_control(settings)


def _av1(settings: Settings) -> dict[str, str]:
    if settings.kbps is None:
        own = "lp=1" + (":pred-struct=1" if settings.structure == "low_delay" else "")
        own += "" if settings.qp is None else f":rc=0:aq-mode=0:qp={settings.qp}:{_AV1_NO_OFFSETS}"
        return {"preset": settings.preset, "svtav1-params": own} | _crf_options(settings)
    # no reordered frames, constant bit rate: with variable rate, short clips take three times the target
    return {"preset": settings.preset, "svtav1-params": "lp=1:pred-struct=1:rc=2"}


def _vp9(settings: Settings) -> dict[str, str]:
    fast = {"deadline": "realtime", "cpu-used": settings.preset, "lag-in-frames": "0"}
    if settings.qp is not None:
        return fast | {"b": "0", "crf": str(settings.qp), "qmin": str(settings.qp), "qmax": str(settings.qp)}
    capped = _rate_control(settings)
    rate = capped | {"minrate": capped["maxrate"]} if capped else {"b": "0"}
    return fast | rate | _crf_options(settings)


def _quantiser_options(settings: Settings) -> dict[str, str]:
    if settings.crf is None:
        return _rate_control(settings)
    return {"qmin": str(settings.crf), "qmax": str(settings.crf), "b": _UNLIMITED_BIT_RATE}


_QP_LEVELS = (22, 27, 32, 37, 42, 47)
"""The quantisers of the tests of video coding for machines."""
_X26X_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


def _default_first(default: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return (default, *(name for name in names if name != default))


CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec(
            "h264", "H.264", "libx264", "h264", "yuv420p", 2, (0, 51), (18, 23, 28, 33, 38, 43, 48),
            _default_first("medium", _X26X_PRESETS), _h264, (0, 51), _QP_LEVELS,
        ),
        Codec(
            "hevc", "HEVC", "libx265", "hevc", "yuv420p", 64, (0, 51), (18, 23, 28, 33, 38, 43, 48),
            _default_first("veryfast", _X26X_PRESETS), _hevc, (0, 51), _QP_LEVELS,
        ),
        Codec(
            "av1", "AV1", "libsvtav1", "libdav1d", "yuv420p", 64, (1, 63), (20, 28, 36, 44, 52, 58, 63),
            _default_first("8", tuple(map(str, range(14)))), _av1, (1, 63), (20, 28, 36, 44, 52, 60),
        ),
        Codec(
            "vp9", "VP9", "libvpx-vp9", "vp9", "yuv420p", 2, (0, 63), (20, 28, 36, 44, 52, 58, 63),
            _default_first("5", tuple(map(str, range(9)))), _vp9, (1, 63), (20, 28, 36, 44, 52, 60),
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
