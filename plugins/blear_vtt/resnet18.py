"""ResNet-18 on independent frames or with a temporal shift (VTT, spec sections 3.1 and 3.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu
from torchvision.models.resnet import BasicBlock, conv1x1

from blear.contracts import BuildContext, Features
from blear.errors import PluginError
from blear_vtt.params import ResNet18Params
from blear_vtt.temporal_shift import bidirectional, causal

_WIDTHS = (64, 128, 256, 512)


class Block(BasicBlock):
    """torchvision's basic block with separate inputs for the shortcut and the residual branch."""

    def forward_shifted(self, maps_NCHW: Tensor, shifted_NCHW: Tensor) -> Tensor:
        """Returns ReLU(shortcut(maps) + residual(shifted))."""
        residual = self.bn2(self.conv2(relu(self.bn1(self.conv1(shifted_NCHW)))))
        shortcut = maps_NCHW if self.downsample is None else self.downsample(maps_NCHW)
        return relu(residual + shortcut)


class ResNet18(nn.Module):
    """Frames [B, T, C, H, W] -> `embedding` [B, T, 512] and `layer4` [B, T, 512, H / 32, W / 32].

    Parameter names are torchvision's for every shift: weights of a static network load into a network with a shift.
    With `classes` the network also has the layer `fc` and the feature `logits` [B, T, classes]. Frames are not
    normalised. A single grey channel is repeated.

    Raises:
        PluginError: the clip's shape is unknown, or it has neither one nor three channels.
    """

    def __init__(self, params: ResNet18Params, context: BuildContext) -> None:
        super().__init__()
        if context.clip is None:
            do = "build it with a context that has `clip`"
            raise PluginError("needs the shape of the clips to be built", "vtt/resnet18", do)
        if context.clip.channels not in (1, 3):
            what = f"clips of {context.clip.channels} channels"
            raise PluginError(what, "vtt/resnet18", "use colour (3) or grey (1) frames")
        self.params = params
        widths = [max(1, round(width * params.width)) for width in _WIDTHS]
        self.conv1 = nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(widths[0], widths[0], 1)
        self.layer2 = _stage(widths[0], widths[1], 2)
        self.layer3 = _stage(widths[1], widths[2], 2)
        self.layer4 = _stage(widths[2], widths[3], 2)
        self.fc = None if params.classes is None else nn.Linear(widths[3], params.classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """`embedding`, `layer4`, and `logits` if `classes` is set."""
        length = frames_BTCHW.shape[1]
        x = _centre(frames_BTCHW, self.params.input).flatten(0, 1)
        x = self.maxpool(relu(self.bn1(self.conv1(x.expand(-1, 3, -1, -1)))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = self._run_stage(stage, x, length)
            if self.params.shift == "causal_stage" and stage is not self.layer4:
                x = causal(x.unflatten(0, (-1, length)), self.params.zero_fill).flatten(0, 1)
        maps = x.unflatten(0, (-1, length))
        features = {"embedding": maps.mean(dim=(-2, -1)), "layer4": maps}
        return features if self.fc is None else features | {"logits": self.fc(features["embedding"])}

    def _run_stage(self, stage: nn.ModuleList, x: Tensor, length: int) -> Tensor:
        for block in stage:
            residual_input = x
            if self.params.shift == "residual_bidirectional":
                residual_input = bidirectional(x.unflatten(0, (-1, length))).flatten(0, 1)
            x = block.forward_shifted(x, residual_input)  # type: ignore[operator]  # the items of a ModuleList are typed as Module
        return x


def _stage(inputs: int, width: int, stride: int) -> nn.ModuleList:
    """Returns two blocks with the indices of torchvision's blocks."""
    downsample = None
    if stride != 1:
        downsample = nn.Sequential(conv1x1(inputs, width, stride), nn.BatchNorm2d(width))
    return nn.ModuleList([Block(inputs, width, stride, downsample), Block(width, width)])


def _centre(frames_BTCHW: Tensor, size: int | None) -> Tensor:
    """Crops the central square of `size` pixels. Smaller frames are returned unchanged."""
    height, width = frames_BTCHW.shape[-2:]
    if size is None:
        return frames_BTCHW
    rows, columns = min(size, height), min(size, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    return frames_BTCHW[..., top : top + rows, left : left + columns]
