"""Deeply supervised networks: fused side outputs with short connections (Fan, Lam, Li, ICMI 2018)."""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_dsn.data_params import FaceListParams, RafDbParams
from blear_dsn.params import DensenetParams, ResnetParams, SideOutputsParams, TwoLinearParams, VggParams
from blear_dsn.weight_names import (
    DENSENET_CAFFE,
    DENSENET_HEAD,
    DENSENET_TORCHVISION,
    DSN_HEAD,
    DSN_RESNET,
    DSN_VGG,
    RESNET,
)

PLUGIN_API = 1


@hookimpl
def register_datasets() -> list[Component]:
    """`dsn/raf_db` and `dsn/face_list`."""
    return [
        Component(
            name="raf_db",
            summary="RAF-DB's basic package: web faces with seven emotions, aligned by five landmarks",
            params=RafDbParams,
            build="blear_dsn.raf_db:RafDb",
            examples=({"source": "data/raf"}, {"source": "data/raf", "face": "aligned", "size": 100}),
        ),
        Component(
            name="face_list",
            summary="Extracted faces named by lists of <path> <label>: pictures, or one folder for each clip",
            params=FaceListParams,
            build="blear_dsn.face_list:FaceList",
            examples=({"source": "data/faces"}, {"source": "data/faces", "dev": None, "empty": "black"}),
        ),
    ]


@hookimpl
def register_backbones() -> list[Component]:
    """`dsn/vgg`, `dsn/resnet50` and `dsn/densenet121`."""
    return [
        Component(
            name="vgg",
            summary="VGG-16's convolutions as DSN-VGG-Face has them: six stages for side outputs",
            params=VggParams,
            build="blear_dsn.vgg:Vgg",
            examples=({"width": 0.125}, {"width": 0.0625, "size": 48, "normalise": "torchvision"}),
            rename_tables={"dsn_vgg": DSN_VGG},
        ),
        Component(
            name="resnet50",
            summary="ResNet-50 or 101, Caffe's variant, frozen batch normalisation: five stages for side outputs",
            params=ResnetParams,
            build="blear_dsn.resnet:Resnet",
            examples=({"width": 0.125}, {"width": 0.0625, "layers": 101, "norm": "trained"}),
            rename_tables={"resnet_caffe": RESNET, "dsn_resnet": DSN_RESNET},
        ),
        Component(
            name="densenet121",
            summary="DenseNet-121's trunk",
            params=DensenetParams,
            build="blear_dsn.densenet:Densenet",
            examples=({"width": 0.125},),
            rename_tables={
                "densenet_torchvision": DENSENET_TORCHVISION,
                "densenet_caffe": DENSENET_CAFFE,
                "dsn_densenet": DENSENET_CAFFE,
            },
        ),
    ]


@hookimpl
def register_heads() -> list[Component]:
    """`dsn/side_outputs` and `dsn/two_linear`."""
    return [
        Component(
            name="side_outputs",
            summary="A classifier on a one-channel map of each stage, short connections, and the fused decision",
            params=SideOutputsParams,
            build="blear_dsn.side_outputs:SideOutputs",
            examples=({"width": 0.125}, {"width": 0.125, "crop": "top_left", "reduce": 256}),
            rename_tables={"dsn_vgg": DSN_HEAD, "dsn_resnet": DSN_HEAD},
        ),
        Component(
            name="two_linear",
            summary="Two linear layers on the embedding with dropout between, cross-entropy",
            params=TwoLinearParams,
            build="blear_dsn.two_linear:TwoLinear",
            rename_tables={"dsn_densenet": DENSENET_HEAD},
        ),
    ]
