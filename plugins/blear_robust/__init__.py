"""Small networks of plain 3x3 convolutions for faces that are small, blurred, compressed or noisy."""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_robust.params import PlainResNetParams

PLUGIN_API = 1


@hookimpl
def register_backbones() -> list[Component]:
    """`robust/plain_resnet`."""
    return [
        Component(
            "plain_resnet",
            "Plain 3x3 convolutions with residual pairs (ResNet-9 shape) for small grey or colour faces",
            PlainResNetParams,
            "blear_robust.plain_resnet:PlainResNet",
            examples=({"width": 0.25}, {"channels": [8, 16, 16], "blocks": [1, 0, 2], "mean": 0.508, "std": 0.255}),
        )
    ]
