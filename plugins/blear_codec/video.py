"""Video codecs as degradations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear_codec.codecs import CODECS, Settings, require_codec
from blear_codec.cpu_batches import check_channels, map_clips
from blear_codec.mixture import ValueMixture, frame_uniforms
from blear_codec.params import VideoParams
from blear_codec.transcode import transcode

_RATES = (400, 200, 100, 50, 25)


class VideoCodec:
    """Degradation that encodes and decodes each clip on the CPU, at a quality or bit rate that is drawn per clip.

    A still is encoded as a clip of `repeat` equal frames, and the last decoded frame is used: it resembles an
    inter-coded frame of a recording, not a key frame.

    Raises:
        PluginError: from the constructor if FFmpeg lacks the codec or the clips have another number of channels than 1
            or 3; from `apply` if the encoder rejects the clips.
    """

    on_cpu = True

    def __init__(self, params: VideoParams, context: BuildContext) -> None:
        self._params, self._codec = params, CODECS[params.codec]
        require_codec(self._codec)
        if context.clip is not None:
            check_channels(context.clip.channels, f"codec/{self._codec.name}")
        self._kind = next((name for name in ("kbps", "qp") if getattr(params, name) is not None), "crf")
        given = getattr(params, self._kind)
        self._mixture = ValueMixture(self._codec.default_crf if given is None else given)
        self._shrink = ValueMixture(params.shrink)

    def draw(self, keys: DrawKeys) -> Draws:
        """`strength`: float32 [B], crf, qp or kbps; `shrink`: float32 [B]; `key`: int64 [B], for drops and losses."""
        keys = keys.frozen() if self._params.frozen else keys
        strength, key, shrink = keys.uniform(3).T
        return {
            "strength": self._mixture.draw(strength),
            "shrink": self._shrink.draw(shrink),
            "key": torch.from_numpy((key * 2**53).astype(np.int64)),
        }

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns the decoded frames, of the same shape, dtype and device, multiples of 1/255."""
        return self.apply_coded(frames_BTCHW, draws)[0]

    def apply_coded(self, frames_BTCHW: Tensor, draws: Draws) -> tuple[Tensor, np.ndarray]:
        """Returns the frames of `apply`, and the kbit/s of each clip, float64 [B] (of a still: of `repeat` frames)."""
        strengths, shrinks, keys = (draws[name].tolist() for name in ("strength", "shrink", "key"))

        def change(number: int, clip_THWC: np.ndarray) -> tuple[np.ndarray, float]:
            still = len(clip_THWC) == 1
            whole = clip_THWC.repeat(self._params.repeat, axis=0) if still else clip_THWC
            drop, lose = frame_uniforms(keys[number], len(whole)).T
            dropped, lost = drop < self._params.drop, lose < self._params.loss
            coded = transcode(whole, self._settings(strengths[number], shrinks[number]), dropped, lost)
            return coded.frames_THWC[-1:] if still else coded.frames_THWC, coded.kbps

        return map_clips(frames_BTCHW, change, f"codec/{self._codec.name}")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Bit rates if the job sets `kbps`, quantisers if it sets `qp`, otherwise quality numbers; mildest first."""
        values = {"kbps": _RATES, "qp": self._codec.qp_levels, "crf": self._codec.levels}[self._kind]
        return [{self._kind: value} for value in values]

    def _settings(self, strength: float, shrink: float) -> Settings:
        params, preset = self._params, getattr(self._params, "preset", "")
        number = round(strength)
        return Settings(
            params.codec,
            crf=number if self._kind == "crf" else None,
            kbps=strength if self._kind == "kbps" else None,
            qp=number if self._kind == "qp" else None,
            structure=params.structure,
            gop=params.gop,
            preset=preset,
            fps=params.fps,
            shrink=shrink,
        )
