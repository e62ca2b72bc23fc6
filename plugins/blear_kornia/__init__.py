"""Every 2-D augmentation of `kornia.augmentation` as a degradation, named like its class."""

from __future__ import annotations

from functools import partial
from typing import Any

from blear.contracts import BuildContext, Component, Params
from blear.hooks import hookimpl
from blear_kornia.params import MODELS, SEVERITIES, SIGNATURES

PLUGIN_API = 1


@hookimpl
def register_degradations() -> list[Component]:
    """Returns one component for each class that keeps the contract. `left_out.json` lists the other classes."""
    examples = {name: {"p": 1, **SEVERITIES.get(name, {}).get("example", {})} for name in SIGNATURES}
    return [
        Component(name, signature["summary"], MODELS[name], partial(_build, name), (examples[name],))
        for name, signature in SIGNATURES.items()
    ]


def _build(name: str, params: Params, context: BuildContext) -> Any:
    """Builds a component. kornia is imported here, when the first component is built."""
    from blear_kornia.augmentation import Augmentation

    return Augmentation(name, params, context)
