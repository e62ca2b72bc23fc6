"""`blear.degrade`: degradations on pictures or clips in memory, without a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from blear.contracts import BuildContext, ClipSpec
from blear.degradation.chain import as_float, build_chain, require_unit_range
from blear.errors import JobError
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationEntry

_ENTRIES: TypeAdapter[list[DegradationEntry]] = TypeAdapter(list[DegradationEntry])
_FORMS = "give [N, H, W], [N, H, W, C] or [N, T, H, W, C] arrays, or [N, C, H, W] or [N, T, C, H, W] tensors"


def degrade(
    images: np.ndarray | Tensor,
    degradations: Sequence[Mapping[str, Any]],
    *,
    seed: int = 0,
    epoch: int = 0,
    progress: float = 1.0,
    plugins: Sequence[str] = (),
    keep_places: bool = False,
) -> np.ndarray | Tensor:
    """Applies a chain of degradations to a batch, each picture with a strength of its own.

    The random numbers of picture n depend on (seed, epoch, n) only: the same call gives the same result, and a longer
    batch the same first pictures.

    Example:
        small = blear.degrade(faces, [{"use": "downscale", "factor": 3}], seed=0)

    Args:
        images: a uint8 array in 0..255 or a float array in [0, 1], [N, H, W], [N, H, W, C] or [N, T, H, W, C] with C
            of 1 or 3; or a tensor [N, C, H, W] or [N, T, C, H, W], on any device. All frames of a clip are degraded
            alike.
        degradations: the list `degrade` of a job's stage, as Python data: components with their parameters, `p`, and
            groups (`chain`, `one_of`, `any_order`).
        seed: seed of the random numbers.
        epoch: another epoch draws other numbers.
        progress: fraction of the training that is done, for schedules.
        plugins: paths of one-file plugins that the chain uses.
        keep_places: refuse operations that move the content of the pictures, such as a flip (`contracts.Moving`), after
            which boxes, masks and key points would no longer fit.

    Returns:
        Degraded pictures of the same kind, shape order and dtype: uint8 is rounded and clipped to 0..255; floats may
        slightly leave [0, 1]. The size differs where an operation changes it, such as a crop. An operation that makes a
        sequence of a picture (`imagenet_p`) adds the dimension of time: [N, T, ...].

    Raises:
        ValueError: the pictures have another form.
        JobError: an entry is malformed, or moves the content although `keep_places` forbids it.
        PluginError: a component is not installed, or a parameter is wrong.
    """
    clips, entries = _to_clips(images), parse_entries(degradations)
    if not len(clips):
        return images
    context = BuildContext(seed, ClipSpec(*clips.shape[1:]))
    chain, _ = build_chain(load_plugins(tuple(plugins)), entries, context, "degradations")
    moving = [number for number, node in enumerate(chain.nodes) if keep_places and node.moves_content]
    if moving:
        what = "moves the content of the pictures: boxes, masks and key points would no longer fit"
        do = "leave it out, or move them alike with an operation of the framework that has them"
        raise JobError(what, f"degradations.{moving[0]}", do)
    samples_B = np.arange(len(clips), dtype=np.int64)
    frames = chain(as_float(clips, clips.device), np.full_like(samples_B, epoch), samples_B, progress)
    return _like(images, frames)


def parse_entries(degradations: Sequence[Mapping[str, Any]]) -> list[DegradationEntry]:
    """Reads a list of degradations that does not come from a job file.

    Raises:
        JobError: an entry is malformed; names its number and key.
    """
    do = 'give a list like [{"use": "downscale", "factor": 3}]'
    if isinstance(degradations, str | Mapping):
        raise JobError("no list", "degradations", do)
    try:
        return _ENTRIES.validate_python(list(degradations))
    except ValidationError as error:
        lines: dict[str, str] = {}  # the first message of each place; a union has one for each of its types
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"] if str(part).replace("_", "").isalnum())
            lines.setdefault(where, f"{where}: {problem['msg']}")
        raise JobError("\n".join(lines.values()), "degradations", do) from error


def _to_clips(images: np.ndarray | Tensor) -> Tensor:
    """The pictures as clips [N, T, C, H, W], uint8 or float."""
    if not isinstance(images, np.ndarray | Tensor):
        raise ValueError(f"{type(images).__name__} is no batch: {_FORMS}; of pictures of one size, numpy.stack(...)")
    if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[2] == 3:
        raise ValueError(f"an array {list(images.shape)} is no batch; of one picture, give images[None]")
    tensor = torch.from_numpy(np.require(images, requirements=["C", "W"])) if isinstance(images, np.ndarray) else images
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise ValueError(f"pictures of {tensor.dtype}: give uint8, or floats in [0, 1]")
    if isinstance(images, np.ndarray):
        clips = {
            3: lambda: tensor[:, None, None],
            4: lambda: tensor[:, None].movedim(-1, 2),
            5: lambda: tensor.movedim(-1, 2),
        }
    else:
        clips = {4: lambda: tensor[:, None], 5: lambda: tensor}
    if tensor.ndim not in clips or clips[tensor.ndim]().shape[2] not in (1, 3):
        raise ValueError(f"pictures of shape {list(tensor.shape)}: {_FORMS}")
    require_unit_range(tensor)
    return clips[tensor.ndim]()


def _like(images: np.ndarray | Tensor, frames_NTCHW: Tensor) -> np.ndarray | Tensor:
    """Clips as the pictures were given: their dtype, order of dimensions, and kind."""
    still = frames_NTCHW.shape[1] == 1
    if images.dtype in (np.uint8, torch.uint8):
        frames_NTCHW = (frames_NTCHW * 255).round_().clamp_(0, 255)
    if isinstance(images, Tensor):
        tensor = frames_NTCHW.to(images.dtype)
        return tensor[:, 0] if still and images.ndim == 4 else tensor
    ordered = frames_NTCHW.movedim(2, -1)
    ordered = ordered[..., 0] if images.ndim == 3 else ordered
    ordered = ordered[:, 0] if still and images.ndim < 5 else ordered
    return ordered.cpu().numpy().astype(images.dtype)
