"""Which parameters of a component are paths: they become absolute, because workers have other working folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from blear.contracts import Params


def path_params(params: type[Params]) -> frozenset[str]:
    """Names of the parameters that are paths, or may be: `Path`, `Path | None`, `dict[str, Path]`."""
    return frozenset(name for name, field in params.model_fields.items() if _has_path(field.annotation))


def _has_path(annotation: Any) -> bool:
    return annotation is Path or any(_has_path(one) for one in get_args(annotation))
