"""The search space: a job's `search.space` as Tune's domains, and a trial's draw as values of the job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from blear.job.schema import Dimension
from blear.plugin.uses import Scalar

_DIGITS = 4
_JOINT = "|"  # separates a field and a key of its mixture; no field contains it


def tune_space(space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Tune's domains of a space, one for each dimension; of a mixture, one for each key (see `values`)."""
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
    """The values of the job for one draw of Tune.

    Numbers of `range` and `log` are rounded to four significant digits, so that best.yaml, which holds them as text,
    repeats the trial to the bit. The weights of a mixture are -log(u) of uniform draws u, divided by their sum: this
    distribution is uniform on the simplex (Dirichlet with all parameters 1).

    Args:
        drawn: domain -> value, as `tune_space` names the domains.

    Returns:
        Field of the job -> value.
    """
    fields: dict[str, Any] = {}
    for path, dimension in space.items():
        if dimension.simplex is not None:
            fields[path] = _weights(dimension.simplex, [drawn[f"{path}{_JOINT}{key}"] for key in dimension.simplex])
        else:
            value, drawn_number = drawn[path], dimension.choice is None and dimension.integer is None
            fields[path] = float(f"{value:.{_DIGITS}g}") if drawn_number else value
    return fields


def _weights(keys: list[Scalar], draws: list[float]) -> dict[Scalar, float]:
    shares = [-math.log(min(max(draw, 1e-9), 1 - 1e-9)) for draw in draws]
    return {key: round(share / sum(shares), _DIGITS) for key, share in zip(keys, shares, strict=True)}
