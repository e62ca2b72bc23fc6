"""A network that any importable callable builds, as a backbone: no plugin is needed for a first try."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from blear.contracts import Component, Params
from blear.hooks import hookimpl

PLUGIN_API = 1

Mean = Annotated[float, Field(allow_inf_nan=False)]
Std = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ModuleParams(Params):
    """Parameters of `python/module`."""

    path: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        description="callable that returns a torch.nn.Module, as `package.module:function` or `package.module:Class`; "
        "importable on every machine of the job, or a module in the working folder",
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the callable")
    features: dict[str, str] = Field(
        {"embedding": "output"},
        min_length=1,
        description="name of a feature -> `output` of the network, `output.KEY` or `output.0` of a dict or tuple, or "
        "the name of a module whose output it is. `embedding` is averaged over rows and columns of a map",
    )
    drop: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="modules to replace by an identity, such as the last layer: `fc`, `classifier.6`",
    )
    channels: Literal[1, 3] | None = Field(
        None, description="channels of the network's input: 3 repeats a grey frame, 1 makes luma; null: as the data"
    )
    mean: Mean | list[Mean] = Field(0.0, description="subtracted from the frames, which are in [0, 1]")
    std: Std | list[Std] = Field(1.0, description="divides the frames after that")
    clips: bool = Field(
        False, description="whether the network takes clips [B, T, C, H, W]; false: frames [N, C, H, W]"
    )


@hookimpl
def register_backbones() -> list[Component]:
    """`python/module`."""
    return [
        Component(
            "module",
            "Any importable callable that returns a torch.nn.Module, with named outputs as features",
            ModuleParams,
            "blear_python.backbone:ModuleBackbone",
            examples=(
                {
                    "path": "torchvision.models:shufflenet_v2_x0_5",
                    "features": {"embedding": "output", "map": "stage2"},
                    "drop": ["fc"],
                    "channels": 3,
                },
            ),
            rename_tables={"module": {"*": "net.*"}},
        )
    ]
