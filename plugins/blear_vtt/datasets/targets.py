"""Targets of all datasets of this plugin: the emotion class, and its soft label (share of each class)."""

from __future__ import annotations

from collections.abc import Sequence

from blear.contracts import Target

Shares = tuple[float, ...]
"""Soft label: the share of each class, in class order."""


def emotion_targets(classes: Sequence[str]) -> tuple[Target, ...]:
    """Returns the class target `emotion` and one value target `emotion.<class>` in [0, 1] for each class."""
    values = (Target(f"emotion.{name}", "value", bounds=(0.0, 1.0)) for name in classes)
    return (Target("emotion", "class", tuple(classes)), *values)


def emotion_labels(shares: Shares, classes: Sequence[str]) -> dict[str, int | float]:
    """Returns the labels of a sample. The class is the one with the largest share; of equal shares the first."""
    best = max(range(len(shares)), key=lambda index: shares[index])
    return {"emotion": best} | {f"emotion.{name}": share for name, share in zip(classes, shares, strict=True)}


def one_hot(index: int, count: int) -> Shares:
    """Returns the soft label with share 1 for one class."""
    return tuple(float(each == index) for each in range(count))
