"""Degradations and models under the protocols of MAITE (image classification), without a dependency on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch

import blear
from blear.errors import RunError
from blear_interop.pictures import Chain, Degrader


class MaiteAugmentation:
    """A chain of degradations as MAITE's `Augmentation`: batches of (pictures, targets, metadata).

    Pictures are arrays [C, H, W], uint8 or float in [0, 1], of any sizes. The draws of a picture depend on `seed` and
    on the `id` of its metadata only, and not on the batch: another batch size gives the same pictures. Targets and
    metadata pass through.

    Args:
        degradations: the chain, as `degrade` of a job's stage.
        seed: seed of the draws.
        id: name in the metadata; default: the names of the components.
        plugins: paths of one-file plugins that the chain uses.
    """

    def __init__(
        self, degradations: Chain, *, seed: int = 0, id: str | None = None, plugins: Sequence[str] = ()
    ) -> None:
        self._degrader = Degrader(degradations, seed, plugins)
        names = (str(entry.get("use", next(iter(entry), ""))) for entry in degradations)
        self.metadata = {"id": id or "blear: " + ", ".join(names)}

    def __call__(
        self, batch: tuple[Sequence[Any], Sequence[Any], Sequence[Mapping[str, Any]]], /
    ) -> tuple[list[np.ndarray], Sequence[Any], Sequence[Mapping[str, Any]]]:
        """The batch with degraded pictures.

        Raises:
            ValueError: a picture has another form, or there are more pictures than metadata.
        """
        pictures, targets, metadata = batch
        degraded = [
            self._degrader.picture(torch.from_numpy(_chw(picture)), crc32(str(about["id"]).encode())).numpy()
            for picture, about in zip(pictures, metadata, strict=True)
        ]
        return degraded, targets, metadata


class MaiteModel:
    """A trained model as MAITE's `Model`: pictures [C, H, W] in, probabilities [K] out.

    Args:
        model: a model of `blear.load`.
        target: the class target; default: the only one.

    Raises:
        RunError: the model has no such class target, or several and none is named.
    """

    def __init__(self, model: blear.Model, target: str | None = None) -> None:
        names = list(model.labels)
        if target is None and len(names) != 1:
            raise RunError(f"the model has {len(names)} class targets", str(model), f"name one of {names}")
        if target is not None and target not in names:
            raise RunError(f"the model has no class target {target!r}", str(model), f"name one of {names}")
        self.model, self.target = model, target or names[0]
        self.metadata = {"id": model.card.name, "index2label": dict(enumerate(model.labels[self.target]))}

    def __call__(self, input_batch: Sequence[Any], /) -> list[np.ndarray]:
        """Probabilities of each picture, float32 [K].

        Raises:
            ValueError: a picture is no array [C, H, W] of 1 or 3 channels, uint8 or float in [0, 1].
        """
        pictures = [torch.from_numpy(_chw(picture)) for picture in input_batch]
        if not pictures:
            return []
        alike = len({(picture.shape, picture.dtype) for picture in pictures}) == 1
        batches = [torch.stack(pictures)] if alike else [picture[None] for picture in pictures]
        with torch.no_grad():
            scores = torch.cat([self.model(batch)[self.target].float().cpu() for batch in batches])
        return list(scores.numpy())


def _chw(picture: Any) -> np.ndarray:
    """A picture as an array that torch can share.

    Raises:
        ValueError: it has not three dimensions with 1 or 3 channels first.
    """
    array = np.ascontiguousarray(picture)
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise ValueError(f"a picture of shape {list(array.shape)}: give [C, H, W] with 1 or 3 channels")
    return array if array.flags.writeable else array.copy()
