"""Auxiliary batch normalisation: degraded samples have scales and offsets of their own while a stage is trained.

After Xie et al., "Adversarial Examples Improve Image Recognition" (CVPR 2020), who also separate the batch statistics;
here both kinds of samples share them. The second set is dropped at the end: the trained model has the first one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from blear.contracts import Batch
from blear.errors import JobError

AUXILIARY = ("auxiliary_weight", "auxiliary_bias")
"""Names of the parameters of the second set."""


class AuxiliaryBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation of maps [B, C, H, W] with a second set of scales and offsets for degraded samples.

    Attributes:
        degraded_B: which samples of the batch are degraded, bool; None: the first set is used for all.
    """

    degraded_B: Tensor | None = None

    auxiliary_weight: nn.Parameter
    auxiliary_bias: nn.Parameter

    def forward(self, input: Tensor) -> Tensor:  # the name of the base class
        """Maps of the same shape; frames of a clip, B x T maps, are degraded as their clip is."""
        if self.degraded_B is None:
            return super().forward(input)
        frames = input.shape[0] // len(self.degraded_B)
        chosen = self.degraded_B.repeat_interleave(frames)[:, None].expand(-1, self.num_features)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked or 1)
        normal = nn.functional.batch_norm(
            input, self.running_mean, self.running_var, None, None, self.training, momentum, self.eps
        )
        scale = torch.where(chosen, self.auxiliary_weight, self.weight)[..., None, None]
        offset = torch.where(chosen, self.auxiliary_bias, self.bias)[..., None, None]
        return (normal * scale + offset).to(normal.dtype)


def add_auxiliary(model: nn.Module, stage: str) -> None:
    """Gives every plain 2-D batch normalisation of a stage's model that has scales a second set, frozen as the first.

    Raises:
        JobError: there is none.
    """
    found = [
        layer
        for layer in model.modules()
        if type(layer) is nn.BatchNorm2d and layer.affine and layer.track_running_stats
    ]
    for layer in found:  # the same object: several parents, or a list of frozen parts, may refer to it
        for name, own in zip(AUXILIARY, (layer.weight, layer.bias), strict=True):
            setattr(layer, name, nn.Parameter(own.detach().clone(), requires_grad=own.requires_grad))
        layer.__class__ = AuxiliaryBatchNorm2d
    if not found:
        what = "the model has no torch.nn.BatchNorm2d with scales and statistics"
        raise JobError(what, f"stages.{stage}.auxiliary_norm", "leave it out, or use another backbone")


def remove_auxiliary(model: nn.Module) -> None:
    """Makes the layers of `add_auxiliary` plain ones again, with the first set and the batch statistics."""
    for layer in model.modules():
        if isinstance(layer, AuxiliaryBatchNorm2d):
            for name in AUXILIARY:
                delattr(layer, name)
            layer.__class__ = nn.BatchNorm2d  # type: ignore[assignment]  # of its base class


def degraded_samples(batch: Batch) -> Tensor:
    """Which samples differ from their clean clip, bool [B]; all, if the clean clips have another shape."""
    frames, clean = batch.frames_BTCHW, batch.clean_BTCHW
    if frames.shape != clean.shape:
        return torch.ones(len(frames), dtype=torch.bool, device=frames.device)
    return (frames != clean).flatten(1).any(dim=1)


@contextmanager
def second_set(model: nn.Module, degraded_B: Tensor) -> Iterator[None]:
    """Within this context, degraded samples use the second set."""
    layers = [layer for layer in model.modules() if isinstance(layer, AuxiliaryBatchNorm2d)]
    for layer in layers:
        layer.degraded_B = degraded_B
    try:
        yield
    finally:
        for layer in layers:
            layer.degraded_B = None


def without_auxiliary(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the model without the second sets."""
    return {name: value for name, value in state.items() if name.rpartition(".")[2] not in AUXILIARY}
