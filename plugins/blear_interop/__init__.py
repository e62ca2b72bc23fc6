"""Degradations and models for other frameworks: torchvision, callables of named arrays (albumentations), MAITE."""

from blear_interop.arrays import ArrayTransform
from blear_interop.maite import MaiteAugmentation, MaiteModel
from blear_interop.torchvision_transform import TorchvisionTransform

__all__ = ["ArrayTransform", "MaiteAugmentation", "MaiteModel", "TorchvisionTransform"]
