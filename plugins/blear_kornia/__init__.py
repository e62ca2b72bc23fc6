"""Every 2-D augmentation of `kornia.augmentation` as a degradation, by the name of its class."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from blear.contracts import BuildContext, Component, Params
from blear.hooks import hookimpl
from blear_kornia.params import MODELS, SEVERITIES, SIGNATURES

if TYPE_CHECKING:
    from blear_kornia.augmentation import Augmentation

PLUGIN_API = 1


@hookimpl
def register_degradations() -> list[Component]:
    """One for each class that keeps the contract; the others stand in `choices.LEFT_OUT`."""
    return [
        Component(name, signature["summary"], MODELS[name], partial(_build, name), ({"p": 1, **_example(name)},))
        for name, signature in SIGNATURES.items()
    ]


def _build(name: str, params: Params, context: BuildContext) -> Augmentation:
    """Imports kornia when the first component is built."""
    from blear_kornia.augmentation import Augmentation

    return Augmentation(name, params, context)


def _example(name: str) -> dict[str, Any]:
    return dict(SEVERITIES.get(name, {}).get("example", {}))
