"""From the job's `search.space` to Tune's, and from a trial's draw to values of the job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from blear.job.schema import Dimension
from blear.plugin.uses import Scalar

_DIGITS = 4
_JOINT = "|"  # between a field and a key of its mixture; no field has one


def tune_space(space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Independent domains of Tune. A mixture has one for each key: see `values`."""
    from ray import tune

    domains: dict[str, Any] = {}
    for path, dimension in space.items():
        if dimension.simplex is not None:
            domains |= {f"{path}{_JOINT}{key}": tune.uniform(0.0, 1.0) for key in dimension.simplex}
        elif dimension.range is not None:
            domains[path] = tune.uniform(*dimension.range)
        elif dimension.log is not None:
            domains[path] = tune.loguniform(*dimension.log)
        elif dimension.integer is not None:
            domains[path] = tune.randint(dimension.integer[0], dimension.integer[1] + 1)
        else:
            domains[path] = tune.choice(dimension.choice or [])
    return domains


def values(space: Mapping[str, Dimension], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Field of the job -> value. Numbers keep four significant digits, so that the best job is the trial to the bit.

    A mixture's weights are -log of even draws over their sum: even on the simplex, whatever the keys.
    """
    found: dict[str, Any] = {}
    for path, dimension in space.items():
        if dimension.simplex is not None:
            found[path] = _weights(dimension.simplex, [drawn[f"{path}{_JOINT}{key}"] for key in dimension.simplex])
        else:
            value = drawn[path]
            found[path] = float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
    return found


def _weights(keys: list[Scalar], draws: list[float]) -> dict[Scalar, float]:
    shares = [-math.log(min(max(draw, 1e-9), 1 - 1e-9)) for draw in draws]
    return {key: round(share / sum(shares), _DIGITS) for key, share in zip(keys, shares, strict=True)}
