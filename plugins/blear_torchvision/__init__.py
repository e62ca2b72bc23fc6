"""Any classification network of torchvision as a backbone; nothing is downloaded unless a job asks for weights."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from blear.contracts import Component, Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class TorchvisionParams(Params):
    """Parameters of `torchvision/model`."""

    model: str = Field(description="name of the network in torchvision: `resnet18`, `convnext_tiny`, `vit_b_16`")
    weights: str | None = Field(
        None,
        description="torchvision's weights, `DEFAULT` or a name as `IMAGENET1K_V1`, downloaded before training; null: "
        "random, or `start_from` a file",
    )
    features: dict[str, str] = Field(
        default_factory=dict,
        description="name of a feature map -> name of a module whose output it is, for instance {map: layer4}",
    )
    normalise: bool = Field(
        True, description="normalise frames by the mean and deviation of `weights`; without them, by those of ImageNet"
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="other arguments of `torchvision.models.get_model`: `image_size`, `dropout`; for a file of "
        "torchvision's `googlenet` or `inception_v3` `{transform_input: true}`, which `weights` implies",
    )


@hookimpl
def register_backbones() -> list[Component]:
    """`torchvision/model`, for all classification networks of torchvision."""
    return [
        Component(
            "model",
            "Any classification network of torchvision: the input of its last linear layer, and feature maps",
            TorchvisionParams,
            "blear_torchvision.backbone:TorchvisionBackbone",
            examples=({"model": "shufflenet_v2_x0_5"}, {"model": "resnet18", "features": {"map": "layer2"}}),
            rename_tables={"torchvision": {"*": "net.*"}},
        )
    ]
