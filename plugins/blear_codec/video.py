"""The degradations by real video codecs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext, DrawKeys, Draws
from blear_codec.clips import each_clip
from blear_codec.codecs import CODECS, Settings, require
from blear_codec.coding import code
from blear_codec.mixture import Mixture, chances
from blear_codec.params import VideoParams

_RATES = (400, 200, 100, 50, 25)


class VideoCodec:
    """Encodes and decodes each clip on the CPU, at a quality or rate that is drawn for it.

    A still becomes a clip of `repeat` equal frames whose last one is taken, so that it looks like a frame in the midst
    of a recording and not like a key frame.

    Raises:
        PluginError: this FFmpeg lacks the codec, here; the encoder refuses the clips, in `apply`.
    """

    def __init__(self, params: VideoParams, context: BuildContext) -> None:
        self._params, self._codec = params, CODECS[params.codec]
        require(self._codec)
        self._by_rate = params.kbps is not None
        quality = self._codec.default_crf if params.crf is None else params.crf
        self._mixture = Mixture(quality if params.kbps is None else params.kbps)

    def draw(self, keys: DrawKeys) -> Draws:
        """`strength`: float32 [B], crf or kbps; `key`: int64 [B], what dropped and lost frames hang on."""
        keys = keys.frozen() if self._params.frozen else keys
        strength, key = keys.uniform(2).T
        return {"strength": self._mixture.draw(strength), "key": torch.from_numpy((key * 2**53).astype(np.int64))}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Frames as a receiver sees them, of the same shape, dtype and device; in steps of 1/255."""
        strengths, keys = draws["strength"].tolist(), draws["key"].tolist()

        def change(number: int, clip_THWC: np.ndarray) -> np.ndarray:
            still = len(clip_THWC) == 1
            coded = clip_THWC.repeat(self._params.repeat, axis=0) if still else clip_THWC
            drop, lose = chances(keys[number], len(coded)).T
            dropped, lost = drop < self._params.drop, lose < self._params.loss
            shown = code(coded, self._settings(strengths[number]), dropped, lost).frames_THWC
            return shown[-1:] if still else shown

        return each_clip(frames_BTCHW, change, f"codec/{self._codec.name}")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Rates where the job gives a rate, else qualities; mildest first."""
        if self._by_rate:
            return [{"kbps": rate} for rate in _RATES]
        return [{"crf": crf} for crf in self._codec.levels]

    def _settings(self, strength: float) -> Settings:
        params = self._params
        rate = {"kbps": strength} if self._by_rate else {"crf": round(strength)}
        return Settings(params.codec, gop=params.gop, preset=getattr(params, "preset", ""), fps=params.fps, **rate)
