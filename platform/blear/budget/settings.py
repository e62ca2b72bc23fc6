"""Settings of an encoder: codec, divisor of the size, quality; and the ffmpeg command of a setting."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blear.errors import RunError
from blear.predict.inputs import printable


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg.

    Attributes:
        name: name in FFmpeg.
        options: its options, beside `crf` and `g`.
        quality: constant rate factors that are tried by default, best first.
        most: largest constant rate factor.
        least_side: smallest width and height.
    """

    name: str
    options: Mapping[str, str]
    quality: tuple[int, ...]
    most: int
    least_side: int = 2


ENCODERS = {
    "h264": Encoder("libx264", {"preset": "medium"}, (23, 28, 33, 38, 43, 48), 51),
    "hevc": Encoder("libx265", {"preset": "fast", "x265-params": "log-level=none"}, (23, 28, 33, 38, 43, 48), 51, 64),
    "av1": Encoder("libsvtav1", {"preset": "8"}, (30, 37, 44, 51, 57, 63), 63, 64),
    "vp9": Encoder("libvpx-vp9", {"b": "0", "deadline": "good", "cpu-used": "4"}, (30, 37, 44, 51, 57, 63), 63),
}
"""Codec -> its encoder."""
GOP = 250
"""Largest distance of two key frames, in frames."""


@dataclass(frozen=True)
class Setting:
    """One way to encode a video.

    Attributes:
        codec: a name in `ENCODERS`.
        factor: divisor of width and height.
        crf: constant rate factor.
    """

    codec: str
    factor: float
    crf: int

    @property
    def encoder(self) -> Encoder:
        """The encoder of the codec."""
        return ENCODERS[self.codec]

    @property
    def options(self) -> dict[str, str]:
        """Options of the encoder."""
        return {**self.encoder.options, "crf": str(self.crf), "g": str(GOP)}

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the encoded video; even numbers."""
        wide, high = (max(2, 2 * round(side / self.factor / 2)) for side in (width, height))
        return wide, high

    def ffmpeg(self, video: Path, size: tuple[int, int]) -> str:
        """The command that encodes a video of this size with this setting."""
        wide, high = self.size(*size)
        options = " ".join(f"-{'b:v' if key == 'b' else key} {value}" for key, value in self.options.items())
        out = f"{video.stem}-{self.codec}-{high}p-crf{self.crf}.mkv"
        scale = f"-vf scale={wide}:{high}:flags=area -pix_fmt yuv420p"
        encoder = f"-c:v {self.encoder.name} {options}"
        return f"ffmpeg -i {_argument(str(video))} {scale} {encoder} -c:a copy {_argument(out)}"


def _argument(path: str) -> str:
    """A path for a shell and for ffmpeg, which reads `name:` as a protocol and `-name` as an option."""
    shown = printable(path)
    return shlex.quote(f"file:{shown}" if ":" in shown or shown.startswith("-") else shown)


def grid(codecs: Sequence[str], factors: Sequence[float], quality: Sequence[int]) -> list[list[Setting]]:
    """The settings to try: one list for each codec and factor, best quality first.

    Args:
        codecs: names in `ENCODERS`.
        factors: divisors of the size.
        quality: constant rate factors; empty: those of the encoder.

    Raises:
        RunError: a codec is unknown, or a constant rate factor is out of range.
    """
    for codec in codecs:
        if codec not in ENCODERS:
            raise RunError(f"there is no codec {codec!r}", "--codec", f"choose from: {', '.join(ENCODERS)}")
        if wrong := [crf for crf in quality if not 0 <= crf <= ENCODERS[codec].most]:
            raise RunError(f"{wrong[0]} is out of range", "--crf", f"{codec} has 0 to {ENCODERS[codec].most}")
    return [
        [Setting(codec, factor, crf) for crf in sorted(set(quality or ENCODERS[codec].quality))]
        for codec in dict.fromkeys(codecs)
        for factor in sorted(set(factors))
    ]
