"""Parameters of the components: one model for each class, created from `signatures.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, create_model

from blear.contracts import Params

__all__ = ["MODELS", "SEVERITIES", "SIGNATURES", "Literal"]
_FOLDER = Path(__file__).parent
SIGNATURES: dict[str, Any] = json.loads((_FOLDER / "signatures.json").read_text())
"""Class -> summary and parameters. The file is written by `docs/make_kornia_signatures.py`."""
LEFT_OUT: dict[str, str] = json.loads((_FOLDER / "left_out.json").read_text())
"""Class -> reason why the class is not a component."""
SEVERITIES: dict[str, Any] = json.loads((_FOLDER / "severities.json").read_text())
"""Class -> `example` (parameters that change frames), `swept` and `levels` (parameter and values of the severity)."""


def _model(name: str, signature: dict[str, Any]) -> type[Params]:
    fields: dict[str, Any] = {}
    for key, parameter in signature["parameters"].items():
        default = parameter.get("default", ...)
        default = tuple(default) if isinstance(default, list) and "tuple" in parameter["type"] else default
        limits: dict[str, Any] = {"ge": 0, "le": 1} if key == "p" else {}
        fields[key] = (parameter["type"], Field(default, description=parameter["help"], **limits))
    return create_model(f"{name}Params", __base__=Params, __module__=__name__, __doc__=signature["summary"], **fields)


MODELS = {name: _model(name, signature) for name, signature in SIGNATURES.items()}
globals().update({model.__name__: model for model in MODELS.values()})  # pickle finds the models by these names
