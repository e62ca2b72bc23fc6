"""Wraps a class of `kornia.augmentation` as a degradation with keyed draws, one draw for all frames of a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from kornia import augmentation
from torch import Tensor
from torch.nn.functional import pad

from blear.contracts import BuildContext, ClipSpec, DrawKeys, Draws, Params
from blear.errors import PluginError
from blear_kornia.choices import AS_COLOUR, BY_VALUE, COLOUR_ONLY, ONE_BY_ONE, PADDED, SHARED, TENSOR, WARPING
from blear_kornia.keyed_random import KeyedRandom
from blear_kornia.params import SEVERITIES, SIGNATURES

_OF_THE_BATCH = ("batch_idx", "forward_input_shape", "order")
"""Entries of kornia's parameters that belong to the whole batch: computed again in `apply`."""


class Augmentation:
    """Draws with the class's parameter generator and applies its `forward` with these parameters.

    Args:
        name: name of the class.
        params: arguments of the class.
        context: has the clip's shape, which `draw` needs.

    Raises:
        PluginError: kornia refuses the parameters; or the frames are neither grey nor RGB, grey for a class that
            changes colour, or too small. Wrong frames raise here if the clip's shape is known, otherwise in `apply`.
    """

    def __init__(self, name: str, params: Params, context: BuildContext) -> None:
        self._name, self._params, self._clip = name, params, context.clip
        types = {key: parameter["type"] for key, parameter in SIGNATURES[name]["parameters"].items()}
        given = {key: getattr(params, key) for key in types}
        tensors = {key: torch.tensor(given[key]) for key in types if TENSOR in types[key] and given[key] is not None}
        try:
            self._class = getattr(augmentation, name)(**given | tensors)
        except Exception as error:
            raise self._error(f"kornia refuses the parameters: {error}", "see `blear plugins show`") from error
        self.moves_content = name in WARPING or isinstance(self._class, augmentation.GeometricAugmentationBase2D)
        if self._clip is not None:
            self._check(self._clip.channels)
            self._try(self._clip)

    def draw(self, keys: DrawKeys) -> Draws:
        """Returns kornia's parameters with the first dimension B, on the CPU; no draws for an empty batch."""
        if self._clip is None:
            raise self._error("needs the shape of the clips for its draws", "build it with a context that has `clip`")
        count = len(keys.samples_B)
        if self._name not in ONE_BY_ONE:
            return self._drawn(keys) if count else {}
        parts = [self._drawn(keys.take(np.array([number]))) for number in range(count)]
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]} if parts else {}

    def apply(self, frames_BTCHW: Tensor, draws: Draws) -> Tensor:
        """Returns frames of the same shape, in [0, 1]."""
        self._check(channels := frames_BTCHW.shape[2])
        if not len(frames_BTCHW):
            return frames_BTCHW
        batch, length = frames_BTCHW.shape[:2]
        images = frames_BTCHW.flatten(0, 1).float().clamp(0, 1)
        images = images.expand(-1, 3, -1, -1) if self._is_repeated(channels) else images
        changed = self._apply(images, {key: value.repeat_interleave(length, dim=0) for key, value in draws.items()})
        changed = changed.mean(dim=1, keepdim=True) if self._is_repeated(channels) else changed
        return changed.clamp(0, 1).unflatten(0, (batch, length)).to(frames_BTCHW.dtype)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Returns values of the class's severity parameter, applied to every clip; empty without such a parameter."""
        known = SEVERITIES.get(self._name, {})
        given = self._params.model_dump(mode="json", exclude_defaults=True) | {"p": 1.0}
        return [given | {known["swept"]: value} for value in known.get("levels", ())]

    def _try(self, clip: ClipSpec) -> None:
        """Applies the class to one black frame. A training with p below 1 would otherwise fail at a later step only."""
        draws = self.draw(DrawKeys(0, 0, np.zeros(1, np.int64), np.zeros(1, np.int64)))
        draws["batch_prob"] = torch.ones_like(draws["batch_prob"])
        try:
            self.apply(torch.zeros(1, 1, clip.channels, clip.height, clip.width), draws)
        except Exception as error:
            size = f"{clip.channels} x {clip.height} x {clip.width}"
            raise self._error(f"kornia fails on frames of {size}: {error}", "change the parameters") from error

    def _drawn(self, keys: DrawKeys) -> Draws:
        assert self._clip is not None
        channels = 3 if self._is_repeated(self._clip.channels) else self._clip.channels
        shape = torch.Size((len(keys.samples_B), channels, self._clip.height, self._clip.width))
        with KeyedRandom(keys):
            draws = self._class.forward_parameters(shape)
        if self._name in PADDED:
            key, largest = PADDED[self._name]
            draws[key] = pad(draws[key], (0, 0, 0, getattr(self._params, largest)[1] - draws[key].shape[1]))
        left_out = (*_OF_THE_BATCH, SHARED.get(self._name))
        return {key: value for key, value in draws.items() if key not in left_out}

    def _apply(self, images_NCHW: Tensor, draws: Draws) -> Tensor:
        key, ranged = BY_VALUE.get(self._name, ("", ""))
        values = draws[key].unique().tolist() if key and isinstance(getattr(self._params, ranged), tuple) else []
        if len(values) < 2:
            numbers = torch.arange(len(images_NCHW), device=images_NCHW.device)[:, None]
            shared = {"batch_idx": numbers, "forward_input_shape": torch.tensor(images_NCHW.shape)}
            shared |= {"idx": torch.zeros(1, dtype=torch.long), "order": torch.arange(4)}
            return self._class(images_NCHW, params={**shared, **draws})
        changed = torch.empty_like(images_NCHW)
        for number in values:
            index = (draws[key] == number).nonzero()[:, 0]
            part = self._apply(images_NCHW[index], {name: drawn[index] for name, drawn in draws.items()})
            changed = changed.index_copy(0, index, part)
        return changed

    def _is_repeated(self, channels: int) -> bool:
        return channels == 1 and self._name in AS_COLOUR

    def _check(self, channels: int) -> None:
        if channels not in (1, 3):
            raise self._error(f"frames of {channels} channels are neither grey nor RGB", "use 1 or 3 channels")
        if channels == 1 and self._name in COLOUR_ONLY:
            raise self._error("frames of 1 channels have no colour to change", "use it on RGB frames")

    def _error(self, what: str, do: str) -> PluginError:
        return PluginError(what, f"kornia/{self._name}", do)
