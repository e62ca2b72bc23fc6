"""Formatting of text on the page."""

from __future__ import annotations

import datetime
from typing import Any

_TITLE_LENGTH = 27  # characters that fit above a panel
_SIGNS = {"chain": " → ", "one_of": " | ", "any_order": " ⇄ "}


def format_component(use: Any) -> str:
    """Formats a component of a job, for example `fer/vgg (width=64)`; arrows join a chain, bars alternatives."""
    if isinstance(use, list):
        return " → ".join(format_component(one) for one in use) or "–"
    if not isinstance(use, dict):
        return str(use)
    params = dict(use)
    name = params.pop("use", "")
    for group, sign in _SIGNS.items():
        if group in params:
            name = f"[{sign.join(format_component(one) for one in params.pop(group))}]"
    params |= params.pop("params", {}) or {}
    inner = ", ".join(f"{key}={_value(value)}" for key, value in params.items() if value is not None)
    return f"{name} ({inner})" if inner else str(name)


def format_time(iso: str | None) -> str:
    """Formats an ISO time to the minute; another text is returned unchanged."""
    try:
        return datetime.datetime.fromisoformat(iso or "").strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return iso or "unknown"


def format_p_value(p: float | None) -> str:
    """Formats a p value with two significant digits."""
    return "undefined" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def class_name(value: float, classes: tuple[str, ...]) -> str:
    """Returns the name of a class index."""
    return classes[int(value)] if int(value) < len(classes) else f"class {int(value)}"


def shortened(text: str, most: int = _TITLE_LENGTH) -> str:
    """Shortens a text to fit above a panel: an ellipsis replaces its middle."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        given = {k: v for k, v in value.items() if v not in (None, "", {}, [])}
        return "{" + ", ".join(f"{k}: {_value(v)}" for k, v in given.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
