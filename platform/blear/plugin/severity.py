"""The severities of a swept degradation: the values of one of its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def severity_of(value: Any) -> float:
    """Returns the severity that a value of a swept parameter means: a number, or a range of that number alone.

    Raises:
        ValueError: the value is something else.
    """
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    if not numbers or any(isinstance(one, bool) or not isinstance(one, int | float) for one in numbers):
        raise ValueError(f"is {value!r}, expected a number, or a range of one number such as [2, 2]")
    if len(set(numbers)) > 1:
        raise ValueError(f"is the range {value!r}; a severity is one number, such as [2, 2]")
    if not math.isfinite(numbers[0]):
        raise ValueError(f"is {numbers[0]:g}; a severity is a finite number")
    return float(numbers[0])


def varied_parameters(levels: Sequence[Mapping[str, Any]]) -> set[str]:
    """Returns the parameters in which the levels of a degradation differ."""
    return {key for level in levels for key in level if any(other.get(key) != level[key] for other in levels)}
