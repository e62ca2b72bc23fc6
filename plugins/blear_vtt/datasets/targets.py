"""What every dataset of this plugin labels its samples with: the emotion, and the share of each emotion."""

from __future__ import annotations

from collections.abc import Sequence

from blear.contracts import Target

Shares = tuple[float, ...]
"""Share of each class."""


def emotion_targets(classes: Sequence[str]) -> tuple[Target, ...]:
    """The class `emotion` and its soft form, the share of each class as `emotion.<class>`."""
    values = (Target(f"emotion.{name}", "value", bounds=(0.0, 1.0)) for name in classes)
    return (Target("emotion", "class", tuple(classes)), *values)


def emotion_labels(shares: Shares, classes: Sequence[str]) -> dict[str, int | float]:
    """What a sample is labelled with; the class is the one of the largest share, the first of equals."""
    best = max(range(len(shares)), key=lambda index: shares[index])
    return {"emotion": best} | {f"emotion.{name}": share for name, share in zip(classes, shares, strict=True)}


def one_hot(index: int, count: int) -> Shares:
    """All of one class."""
    return tuple(float(each == index) for each in range(count))
