"""Consistency between two degradations of one face, as AugMix (Hendrycks et al., ICLR 2020) has it for augmentations.

The two views of a sample are neighbours in the batch (`Preprocessing.views`), so that the loss is exact for every
number of workers and micro-batches, and after a resume.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from blear.contracts import Categories, Decoded, Values
from blear.errors import JobError

VIEWS = 2
_LEAST = 1e-12  # smaller probabilities have no gradient


def consistency_loss(decoded: Mapping[str, Decoded], where: str) -> Tensor:
    """Returns the mean over the targets of the divergence between the two views of each sample, a scalar.

    Classification: Jensen-Shannon divergence of the probabilities, in nats. Regression: half of the squared difference.

    Args:
        decoded: target -> decoded outputs of samples 0, 0', 1, 1', ...
        where: of the stage's option, for errors.

    Raises:
        JobError: a target is an image.
    """
    parts = []
    for name, target in decoded.items():
        if isinstance(target, Categories):
            parts.append(_jensen_shannon(target.probabilities_BTK.float()))
        elif isinstance(target, Values):
            values_BT = target.values_BT.float()
            parts.append(mse_loss(values_BT[0::VIEWS], values_BT[1::VIEWS]) / 2)
        else:
            raise JobError(f"target {name!r} is no class and no value", where, "leave it out")
    return torch.stack(parts).mean()


def _jensen_shannon(probabilities_BTK: Tensor) -> Tensor:
    first, second = probabilities_BTK[0::VIEWS], probabilities_BTK[1::VIEWS]
    log_mean = ((first + second) / 2).clamp(min=_LEAST).log()
    divergences = [(p * (p.clamp(min=_LEAST).log() - log_mean)).sum(dim=-1).mean() for p in (first, second)]
    return torch.stack(divergences).mean()
