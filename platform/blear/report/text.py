"""How facts are written on the page."""

from __future__ import annotations

import datetime
from typing import Any

_TITLE = 27  # letters above a panel


_SIGNS = {"chain": " → ", "one_of": " | ", "any_order": " ⇄ "}


def component(use: Any) -> str:
    """A component as a job names it: `fer/vgg (width=64)`; several are joined by arrows, alternatives by bars."""
    if isinstance(use, list):
        return " → ".join(component(one) for one in use) or "–"
    if not isinstance(use, dict):
        return str(use)
    params = dict(use)
    name = params.pop("use", "")
    for group, sign in _SIGNS.items():
        if group in params:
            name = f"[{sign.join(component(one) for one in params.pop(group))}]"
    params |= params.pop("params", {}) or {}
    inner = ", ".join(f"{key}={_value(value)}" for key, value in params.items() if value is not None)
    return f"{name} ({inner})" if inner else str(name)


def moment(iso: str | None) -> str:
    """An ISO time to the minute; what is none is shown as it is."""
    try:
        return datetime.datetime.fromisoformat(iso or "").strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return iso or "unknown"


def pvalue(p: float | None) -> str:
    """A p value to two digits."""
    return "undefined" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def class_name(value: float, classes: tuple[str, ...]) -> str:
    """The name of a class index."""
    return classes[int(value)] if int(value) < len(classes) else f"class {int(value)}"


def shortened(text: str, most: int = _TITLE) -> str:
    """What fits above a panel: long text loses its middle."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        given = {k: v for k, v in value.items() if v not in (None, "", {}, [])}
        return "{" + ", ".join(f"{k}: {_value(v)}" for k, v in given.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
