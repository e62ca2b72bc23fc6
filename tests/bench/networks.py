"""The two networks of the benchmarks and a plain training step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models import resnet18 as torchvision_resnet18

from blear.contracts import BuildContext, ClipSpec
from blear_vlqr.backbones import Cnn5x5
from blear_vlqr.params import Cnn5x5Params


class Valence(nn.Module):
    """Frames [B, T, C, H, W] -> values [B] by CNN+D and a linear layer."""

    def __init__(self, width: float, size: int) -> None:
        super().__init__()
        self.backbone = Cnn5x5(Cnn5x5Params(width=width), BuildContext(clip=ClipSpec(1, 1, size, size)))
        self.head = nn.Linear(self.backbone.fc4.out_features, 1)

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Returns values [B]."""
        return self.head(self.backbone(frames_BTCHW)["embedding"]).mean(dim=(1, 2))


class ResNet18(nn.Module):
    """Frames [B, T, C, H, W] -> values [B] by torchvision's ResNet-18 on the first frame. Grey is repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torchvision_resnet18(num_classes=1)

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Returns values [B]."""
        frames = frames_BTCHW[:, 0]
        return self.network(frames.expand(-1, 3, -1, -1))[:, 0]


def cnn5x5(width: float, size: int) -> nn.Module:
    """Returns CNN+D for grey stills with fixed initial weights."""
    torch.manual_seed(0)
    return Valence(width, size)


def resnet18() -> nn.Module:
    """Returns ResNet-18 with fixed initial weights."""
    torch.manual_seed(0)
    return ResNet18()


def step_of(
    model: nn.Module, dtype: torch.dtype | None = None, forward: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a training step: SGD with momentum on half the squared error. `dtype` is for autocast; None: float32."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
    call = model if forward is None else forward

    def step(frames_BTCHW: Tensor, targets_B: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(frames_BTCHW.device.type, dtype, enabled=dtype is not None):
            values = call(frames_BTCHW)
        loss = (values.float() - targets_B).square().mean() / 2
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
