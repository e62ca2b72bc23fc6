"""Robust adverse pre-training for any trunk (Liu, Cheng et al., IEEE TIP 28(9), 2019, arXiv 1712.07732).

A restoration head for the feature maps of any trunk; a plain CNN and ResNet-18, of which the first layers can be built
alone; readers of MNIST and CIFAR-10. VLQR is a special case of the method.
"""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_adverse.params import Cifar10Params, CnnParams, MnistParams, ResNet18Params, RestorationParams

PLUGIN_API = 1


@hookimpl
def register_datasets() -> list[Component]:
    """`adverse/mnist` and `adverse/cifar10`."""
    return [
        Component(
            "mnist",
            "MNIST: 28x28 grey digits, from its four IDX files",
            MnistParams,
            "blear_adverse.mnist:Mnist",
            examples=({"source": "data/mnist"}, {"source": "data/mnist", "hold_out": 5000}),
        ),
        Component(
            "cifar10",
            "CIFAR-10: 32x32 colour pictures of ten classes, read safely from its Python batches",
            Cifar10Params,
            "blear_adverse.cifar10:Cifar10",
            examples=({"source": "data/cifar-10-batches-py"}, {"source": "data/cifar10", "hold_out": 5000}),
        ),
    ]


@hookimpl
def register_backbones() -> list[Component]:
    """`adverse/cnn` and `adverse/resnet18`. With `until` only the first layers are built."""
    return [
        Component(
            "cnn",
            "Convolutions with poolings, then a hidden layer; or only the first convolutions",
            CnnParams,
            "blear_adverse.cnn:Cnn",
            examples=(
                {},
                {"width": 0.125, "padded": True, "hidden": None},
                {"width": 0.125, "until": "conv3", "pools": [1, 1, 1]},
            ),
        ),
        Component(
            "resnet18",
            "torchvision's ResNet-18 with optional stems for small pictures; or only its first stages",
            ResNet18Params,
            "blear_adverse.resnet18:ResNet18",
            examples=({"width": 0.125}, {"width": 0.125, "stem": "small", "until": "layer1"}),
        ),
    ]


@hookimpl
def register_heads() -> list[Component]:
    """`adverse/restoration`."""
    return [
        Component(
            "restoration",
            "Reconstructs the clean frames from a trunk's feature map: convolutions, then a pixel shuffle",
            RestorationParams,
            "blear_adverse.restoration:Restoration",
            examples=({"at": "layer1"}, {"at": "conv3", "stride": 4, "channels": [64], "loss": "caffe"}),
        )
    ]
