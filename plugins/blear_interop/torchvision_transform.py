"""A chain of degradations as a transform of torchvision.transforms.v2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torchvision.transforms import v2

from blear_interop.pictures import Chain, Degrader
from torchvision import tv_tensors

_PLACES = (tv_tensors.BoundingBoxes, tv_tensors.Mask, tv_tensors.KeyPoints)


class TorchvisionTransform(v2.Transform):
    """Degrades the pictures of a sample; labels and everything else pass through.

    The draws come from torch's random state, as those of torchvision's own transforms: `torch.manual_seed` repeats
    them, and each worker of a DataLoader has its own. All pictures of one sample are degraded alike.

    Accepts pictures of Pillow (`L`, `RGB`), tensors and `tv_tensors.Image` [C, H, W] or [N, C, H, W], uint8 or float
    in [0, 1], and `tv_tensors.Video` [T, C, H, W]; gives the same type.

    Example:
        v2.Compose([TorchvisionTransform([{"use": "blur", "sigma": [0.5, 2]}]), v2.ToDtype(torch.float32, scale=True)])

    Args:
        degradations: the chain, as `degrade` of a job's stage.
        plugins: paths of one-file plugins that the chain uses.

    Raises:
        ValueError: a picture has another form, or a degradation changes the size of a sample with boxes, masks or
            key points, which would no longer fit.
        JobError: a degradation moves the content of such a sample, as a flip does. A plugin declares it
            (`contracts.Moving`).
    """

    _transformed_types = (tv_tensors.Image, tv_tensors.Video, PIL.Image.Image, Tensor)

    def __init__(self, degradations: Chain, *, plugins: Sequence[str] = ()) -> None:
        super().__init__()
        self._degrader = Degrader(degradations, plugins=plugins)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The number of this sample's draws."""
        places = any(isinstance(value, _PLACES) for value in flat_inputs)
        return {"number": int(torch.randint(2**31, ())), "places": places}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One value of the sample."""
        if isinstance(inpt, _PLACES):
            return inpt
        if isinstance(inpt, PIL.Image.Image):
            return PIL.Image.fromarray(_array(self._tensor(_tensor(inpt), params)))
        degraded = self._tensor(inpt.as_subclass(Tensor), params, video=isinstance(inpt, tv_tensors.Video))
        return tv_tensors.wrap(degraded, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else degraded

    def extra_repr(self) -> str:
        """The chain."""
        return str(self._degrader.degradations)

    def _tensor(self, images: Tensor, params: dict[str, Any], video: bool = False) -> Tensor:
        if images.ndim not in (3, 4):
            raise ValueError(f"a picture of shape {list(images.shape)}: give [C, H, W] or [N, C, H, W]")
        one = self._degrader.clip if video else self._degrader.pictures
        apply = self._degrader.picture if images.ndim == 3 else one
        degraded = apply(images, params["number"], params["places"])
        if params["places"] and degraded.shape[-2:] != images.shape[-2:]:
            what = f"{list(images.shape[-2:])} pixels became {list(degraded.shape[-2:])}"
            raise ValueError(
                f"{what}, and the sample has boxes, masks or key points: use degradations that keep the size"
            )
        return degraded


def _tensor(picture: PIL.Image.Image) -> Tensor:
    if picture.mode not in ("L", "RGB"):
        raise ValueError(f"a picture of mode {picture.mode}: convert it to L or RGB")
    array = np.array(picture)
    return torch.from_numpy(array)[None] if array.ndim == 2 else torch.from_numpy(array).movedim(-1, 0)


def _array(picture_CHW: Tensor) -> np.ndarray:
    array = picture_CHW.movedim(0, -1).numpy()
    return np.ascontiguousarray(array[..., 0] if array.shape[-1] == 1 else array)
