"""Writes plugins/blear_kornia/signatures.json: parameters, defaults and help of kornia's 2-D augmentation classes.

Run: `python docs/make_kornia_signatures.py`. The plugin's hook reads that file, because importing kornia takes seconds.
A test compares the file with the installed kornia.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from blear_kornia.choices import TENSOR
from blear_kornia.params import LEFT_OUT

FILE = Path(__file__).parents[1] / "plugins" / "blear_kornia" / "signatures.json"
_DEFAULTS: dict[str, dict[str, Any]] = {name: {"order": [0, 1, 2, 3]} for name in ("ColorJiggle", "ColorJitter")}
"""Defaults that replace kornia's: without an order, kornia draws one for the whole batch. null means this order."""
_NOT_A_PARAMETER = ("self", "same_on_batch", "keepdim", "p_batch", "kwargs")
"""Arguments that describe a batch as a whole. A draw of blear belongs to one clip."""


def classes() -> dict[str, type]:
    """Returns all classes of `kornia.augmentation.__all__` for 2-D images by name, including those that mix samples."""
    from kornia import augmentation
    from kornia.augmentation._2d.base import AugmentationBase2D

    bases = (AugmentationBase2D, augmentation.MixAugmentationBaseV2)
    found = {name: getattr(augmentation, name) for name in augmentation.__all__}
    return {
        name: kind
        for name, kind in sorted(found.items())
        if isinstance(kind, type) and issubclass(kind, bases) and "Base" not in name and "3D" not in name
    }


def read_signatures() -> dict[str, Any]:
    """Returns class name -> summary and parameters. A parameter has a type expression, help and maybe a default."""
    return {name: _signature(name, kind) for name, kind in classes().items() if name not in LEFT_OUT}


def _signature(name: str, kind: type) -> dict[str, Any]:
    text = inspect.getdoc(kind) or ""
    hints, parameters = get_type_hints(kind.__init__), {}
    for key, parameter in inspect.signature(kind).parameters.items():
        if key not in _NOT_A_PARAMETER:
            kind_of = _expression(hints[key])
            parameters[key] = {"type": kind_of, "help": _help(text, key)}
            default = _DEFAULTS.get(name, {}).get(key, parameter.default)
            if default is not inspect.Parameter.empty:
                parameters[key]["default"] = default.lower() if kind_of.startswith("Literal") else default
    summary = _plain(re.split(r"\n\s*\n|(?<=\.)\s", text, maxsplit=1)[0]).rstrip(".")
    return {"summary": summary, "parameters": parameters}


def _expression(hint: Any) -> str:
    """Returns a type hint as a Python expression of plain types; a tensor only if no other type is allowed."""
    plain = {_part(argument) for argument in (get_args(hint) if _is_union(hint) else (hint,))}
    if TENSOR in plain and plain - {"None", TENSOR}:
        plain -= {TENSOR}
    plain = {part for part in plain if not (part.startswith("list") and f"tuple{part[4:-1]}" in "".join(plain))}
    if any(part.startswith("Literal") for part in plain):
        plain -= {"str", "int"}
    order = ("bool", "int", "float")
    return " | ".join(sorted(plain, key=lambda part: (part == "None", order.index(part) if part in order else 9, part)))


def _part(hint: Any) -> str:
    if getattr(hint, "__name__", "") == "Tensor":
        return TENSOR
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"Literal{[member.name.lower() for member in hint]}"
    if hint is type(None):
        return "None"
    arguments = get_args(hint)
    if not arguments:
        return str(hint.__name__)
    name = "tuple" if "tuple" in str(hint).lower() else "list"
    return f"{name}[{', '.join('...' if a is Ellipsis else a.__name__ for a in arguments)}]"


def _is_union(hint: Any) -> bool:
    return "Union" in str(type(hint)) or str(hint).startswith("typing.Union") or " | " in str(hint)


def _help(text: str, key: str) -> str:
    """Returns a parameter's description in the docstring's `Args`, in one line."""
    found = re.search(
        rf"^ *{key} *(?:\([^)\n]*\))?: *(.*?)(?=\n\s*\n|\n *\w+ *(?:\([^)\n]*\))?: |\Z)", text, re.S | re.M
    )
    return _plain(found[1]) if found else key.replace("_", " ")


def _plain(text: str) -> str:
    text = text.replace("torch.Tensor image", "image").replace("torch.Tensor", "tensor").replace("torch.zeros", "zeros")
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?([^`]*)`", r"\1", text)
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip() or "see kornia"


if __name__ == "__main__":
    FILE.write_text(json.dumps(read_signatures(), indent=1) + "\n")
    sys.stdout.write(f"{FILE}\n")
