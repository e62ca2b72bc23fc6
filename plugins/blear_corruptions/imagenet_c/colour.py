"""Colour corruptions of ImageNet-C: brightness, contrast, saturate. They need no random numbers."""

from __future__ import annotations

import torch
from kornia.enhance import adjust_contrast_with_mean_subtraction
from torch import Tensor

from blear_corruptions.imagenet_c.operation import Operation


class Brightness(Operation):
    """Adds a number to the HSV value. Hue and saturation are unchanged, so that RGB values are multiplied.

    In grey frames the number is added to the pixel values. A negative number darkens the frame.
    """

    channels = (1, 3)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns brighter or darker images."""
        (more,) = self.strengths(index_N)
        value = images_NCHW.amax(dim=1, keepdim=True)
        brighter = (value + more).clamp(0, 1)
        dark = value == 0
        return torch.addcmul(torch.where(dark, brighter, 0), images_NCHW, brighter / torch.where(dark, 1, value))


class Contrast(Operation):
    """Scales the distance of every channel from its mean over the image."""

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with another contrast."""
        (factor,) = self.strengths(index_N)
        planes = images_NCHW.flatten(0, 1)[:, None]  # for RGB images kornia would use the mean of the grey image
        factors = factor.flatten().repeat_interleave(images_NCHW.shape[1])
        return adjust_contrast_with_mean_subtraction(planes, factors).view_as(images_NCHW)


class Saturate(Operation):
    """Multiplies the HSV saturation by a factor and adds a number. Grey pixels have the hue of red, as in scikit-image.

    Grey frames have no saturation and are unchanged.
    """

    channels = (1, 3)

    def change(self, images_NCHW: Tensor, index_N: Tensor, pattern_N: Tensor) -> Tensor:
        """Returns images with another saturation."""
        if images_NCHW.shape[1] == 1:
            return images_NCHW
        factor, more = self.strengths(index_N)
        value, least = images_NCHW.amax(dim=1, keepdim=True), images_NCHW.amin(dim=1, keepdim=True)
        chroma = value - least
        grey = chroma == 0
        saturation = chroma / torch.where(value == 0, 1, value)
        depth = value * (saturation * factor + more).clamp(0, 1)  # distance of the lowest channel from the HSV value
        red = torch.tensor([0.0, 1.0, 1.0], device=images_NCHW.device).view(1, 3, 1, 1)
        coloured = value - (value - images_NCHW) * torch.where(grey, 0, depth / torch.where(grey, 1, chroma))
        return torch.addcmul(coloured, torch.where(grey, depth, 0), red, value=-1)
