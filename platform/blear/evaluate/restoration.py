"""Outputs of models in an evaluation: decoded predictions on the CPU, restored frames."""

from __future__ import annotations

from torch import Tensor

from blear.contracts import Categories, Decoded, Images, Values
from blear.errors import JobError
from blear.train.model import Recognizer


def decoded_on_cpu(decoded: Decoded) -> Values | Categories:
    """Copies a decoded output with metrics to the CPU, in float32."""
    if isinstance(decoded, Values):
        return Values(decoded.values_BT.float().cpu())
    assert isinstance(decoded, Categories)  # images have no metrics
    return Categories(decoded.classes, decoded.probabilities_BTK.float().cpu())


def restore(restorer: Recognizer, frames_BTCHW: Tensor) -> Tensor:
    """Replaces the centre of the frames by the restored image [B, T, C, h, w].

    The restored image is smaller than the frames where the convolutions have no padding; the border stays as it is.

    Raises:
        JobError: the head of the stage does not return images.
    """
    decoded = next(iter(restorer.head.decode(restorer(frames_BTCHW)).values()))
    if not isinstance(decoded, Images):
        raise JobError(
            "`restore` names a stage whose head returns no images", "evaluate.arms", "name a restoration stage"
        )
    restored = frames_BTCHW.clone()
    height, width = decoded.frames_BTCHW.shape[-2:]
    top, left = (restored.shape[-2] - height) // 2, (restored.shape[-1] - width) // 2
    restored[..., top : top + height, left : left + width] = decoded.frames_BTCHW
    return restored
