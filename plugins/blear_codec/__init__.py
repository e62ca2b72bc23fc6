"""Degradations by real codecs: H.264, HEVC, AV1, VP9, MPEG-4 and Motion JPEG through PyAV, JPEG through libjpeg.

All of them report the bit rate of each clip (`contracts.Coding`). `blear_codec.transcode.transcode` encodes and decodes
one clip.
"""

from __future__ import annotations

from blear.contracts import Component, Params
from blear.hooks import hookimpl
from blear_codec.params import Av1Params, H264Params, HevcParams, JpegParams, MjpegParams, Mpeg4Params, Vp9Params

PLUGIN_API = 1


@hookimpl
def register_degradations() -> list[Component]:
    """One component per codec: reports show the codec's name."""
    video: dict[str, tuple[str, type[Params]]] = {
        "h264": ("H.264 by x264", H264Params),
        "hevc": ("HEVC by x265", HevcParams),
        "av1": ("AV1 by SVT-AV1", Av1Params),
        "vp9": ("VP9 by libvpx", Vp9Params),
        "mpeg4": ("MPEG-4 Part 2", Mpeg4Params),
        "mjpeg": ("Motion JPEG", MjpegParams),
    }
    return [
        *(
            Component(
                name,
                f"Encodes and decodes each clip: {label}; stills as short clips",
                params,
                "blear_codec.video:VideoCodec",
                examples=({}, {"kbps": 100, "shrink": [1, 2], "gop": 10, "drop": 0.1, "loss": 0.1}),
            )
            for name, (label, params) in video.items()
        ),
        Component(
            "jpeg",
            "Saves each frame as a JPEG file and reads it back",
            JpegParams,
            "blear_codec.jpeg:Jpeg",
            examples=({}, {"quality": [20, 50, 90]}),
        ),
    ]
