"""torchvision's ResNet-18 (He et al., CVPR 2016) with optional smaller stems. Its first stages can be built alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu
from torchvision.models.resnet import BasicBlock, conv1x1

from blear.contracts import BuildContext, Features
from blear_adverse.layers import NetworkInput, require_clip
from blear_adverse.params import Part, ResNet18Params

_WIDTHS = (64, 128, 256, 512)
_STEMS = {"imagenet": (7, 2), "half": (5, 2), "small": (3, 1)}
_PARTS: tuple[Part, ...] = ("stem", "layer1", "layer2", "layer3", "layer4")


class ResNet18(nn.Module):
    """Frames [B, T, C, H, W] -> maps `stem`, `layer1` to `layer4` [B, T, C, h, w], and `embedding` [B, T, 512].

    `stem` is conv1 after normalisation and ReLU, before the pooling. `embedding` is the mean of `layer4`; with `until`
    there is none. Parameter names are torchvision's: conv1, bn1, layer1 to layer4. conv1 has as many input channels as
    the frames. With the stem "imagenet" and colour frames, weights are interchangeable with torchvision's.

    Raises:
        PluginError: the clip's shape is unknown, or the number of means differs from the channels.
    """

    def __init__(self, params: ResNet18Params, context: BuildContext) -> None:
        super().__init__()
        clip = require_clip(context, "adverse/resnet18")
        self.input = NetworkInput(params.mean, params.std, clip, "adverse/resnet18")
        widths = [max(1, round(width * params.width)) for width in _WIDTHS]
        kernel, stride = _STEMS[params.stem]
        self.conv1 = nn.Conv2d(clip.channels, widths[0], kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if params.stem == "imagenet" else nn.Identity()
        self._built = _PARTS[1 : _count_until(params.until)]
        self._has_embedding = params.until is None
        for name, inputs, width in zip(self._built, (widths[0], *widths), widths, strict=False):
            self.add_module(name, _layer(inputs, width, 1 if name == "layer1" else 2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self._frozen_parts: list[nn.Module] = []
        if params.frozen is not None:
            names = ("conv1", "bn1", *_PARTS[1 : _count_until(params.frozen)])
            self._frozen_parts = [getattr(self, name) for name in names if hasattr(self, name)]
            for module in self._frozen_parts:
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> ResNet18:
        """Sets the mode. Frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen_parts:
            module.eval()
        return self

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """See the class."""
        x = relu(self.bn1(self.conv1(self.input(frames_BTCHW))))
        features = {"stem": x}
        if self._built:
            x = self.pool(x)
        for name in self._built:
            features[name] = x = getattr(self, name)(x)
        if self._has_embedding:
            features["embedding"] = x.mean(dim=(-2, -1))
        return {name: value.unflatten(0, frames_BTCHW.shape[:2]) for name, value in features.items()}


def _count_until(part: Part | None) -> int:
    return len(_PARTS) if part is None else _PARTS.index(part) + 1


def _layer(inputs: int, width: int, stride: int) -> nn.Sequential:
    """Returns two blocks with the indices of torchvision's blocks."""
    downsample = None
    if stride != 1:
        downsample = nn.Sequential(conv1x1(inputs, width, stride), nn.BatchNorm2d(width))
    return nn.Sequential(BasicBlock(inputs, width, stride, downsample), BasicBlock(width, width))
