"""Any network of the timm library as a backbone; needs `pip install 'blear[timm]'`."""

from __future__ import annotations

import importlib.util
from typing import Any

from pydantic import Field, field_validator

from blear.contracts import Component, Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class TimmParams(Params):
    """Parameters of `timm/model`."""

    model: str = Field(description="name of the network in timm: `resnet18`, `convnext_atto`, `vit_tiny_patch16_224`")
    pretrained: bool = Field(False, description="load timm's pretrained weights, downloaded before training")
    options: dict[str, Any] = Field(
        default_factory=dict, description="other arguments of `timm.create_model`: `drop_path_rate`, `img_size`, ..."
    )

    @field_validator("model")
    @classmethod
    def _installed(cls, value: str) -> str:
        if importlib.util.find_spec("timm") is None:
            raise ValueError("timm is not installed: pip install 'blear[timm]'")
        return value


@hookimpl
def register_backbones() -> list[Component]:
    """`timm/model`, for all networks of timm."""
    small = {"model": "mobilenetv3_small_050"}
    return [
        Component(
            "model",
            "Any network of timm with its feature maps",
            TimmParams,
            "blear_timm.backbone:TimmBackbone",
            examples=(small, {"model": "resnet10t", "options": {"drop_path_rate": 0.1}}),
            rename_tables={"timm": {"*": "net.*"}},
        )
    ]
