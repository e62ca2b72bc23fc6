"""Converts the labels of a table or of shards, text or numbers, to class indices, values and distributions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from blear.contracts import Target
from blear.errors import DataError
from blear_own_data.folder_layout import class_names
from blear_own_data.label_params import LabelParams, class_map

_MOST_CLASSES = 1000  # found in the data; more different labels are no classes
_WHOLE_FLOAT = re.compile(r"[+-]?\d+\.0+")
_WHOLE = re.compile(r"[+-]?\d+")
_FRACTION = re.compile(r"[+-]?\d*[.,]\d+(e[+-]?\d+)?", re.IGNORECASE)
_BOUNDS_TOLERANCE = 1e-6
Raw = Any
"""A label as the file holds it: text, number, truth value, or None."""


class MissingLabel(ValueError):
    """A label is empty."""


def is_missing(raw: Raw) -> bool:
    """Whether a label is empty, None or NaN."""
    return raw is None or (isinstance(raw, str) and not raw.strip()) or (isinstance(raw, float) and math.isnan(raw))


def as_text(raw: Raw) -> str:
    """Formats a label as text: whole numbers without a decimal point, letters in one normal form."""
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    return normalize("NFC", str(raw).strip())


def as_number(raw: Raw) -> float:
    """Converts a label to a finite number.

    Raises:
        ValueError: it is no finite number.
    """
    if is_missing(raw):
        raise MissingLabel("is missing")
    try:
        value = float(raw)
    except (TypeError, ValueError):
        raise ValueError(f"is {_short(raw)}, expected a number") from None
    if math.isnan(value):
        raise MissingLabel("is missing")
    if isinstance(raw, bool) or not math.isfinite(value):
        raise ValueError(f"is {_short(raw)}, expected a finite number")
    return value


@dataclass(frozen=True)
class Labels:
    """Converts the labels of one target.

    Attributes:
        target: the target.
        index_of: label as text -> class index, None for a label that is left out; empty for other kinds.
    """

    target: Target
    index_of: dict[str, int | None]

    def convert(self, raw: Raw) -> int | float | tuple[float, ...] | None:
        """Converts a label; returns None for a class that is left out.

        Args:
            raw: a label; of a distribution, the votes or shares of each class.

        Raises:
            ValueError: the label is missing or wrong; the message continues the target's name.
        """
        if self.target.kind == "distribution":
            return _shares(raw, len(self.target.classes))
        if self.target.kind == "value":
            return self._value(raw)
        if is_missing(raw):
            raise MissingLabel("is missing")
        label = as_text(raw)
        if label not in self.index_of and _WHOLE_FLOAT.fullmatch(label):
            label = label.partition(".")[0]  # tables with empty cells hold 3 as 3.0
        if label not in self.index_of:
            raise ValueError(f"is {_short(raw)}, and the classes are {', '.join(self.target.classes)}")
        return self.index_of[label]

    def _value(self, raw: Raw) -> float:
        value, bounds = as_number(raw), self.target.bounds
        if bounds is not None and not bounds[0] - _BOUNDS_TOLERANCE <= value <= bounds[1] + _BOUNDS_TOLERANCE:
            raise ValueError(f"is {value:g}, outside {list(bounds)}")
        return value


def _shares(raw: Sequence[Raw], classes: int) -> tuple[float, ...]:
    """Converts votes or shares to shares that sum to 1."""
    if not isinstance(raw, list | tuple) or len(raw) != classes:
        raise ValueError(f"is {_short(raw)}, expected {classes} votes or shares")
    votes = [as_number(vote) for vote in raw]
    total = sum(votes)
    if min(votes) < 0 or total <= 0:
        raise ValueError(f"is {_short(raw)}, expected votes from 0 of which one is above 0")
    return tuple(vote / total for vote in votes)


def find_labels(name: str, params: LabelParams, values: Iterable[Raw], where: str) -> Labels:
    """Finds kind and classes of a target of kind class or value.

    Args:
        name: of the target.
        params: kind, classes and bounds as the job gives them.
        values: the labels that occur; read if the parameters leave kind or classes open.
        where: names file and column in messages.

    Raises:
        DataError: there is no label, there are too many different ones, or most but not all are decimal numbers.
    """
    kind, given = params.kind, class_map(params.classes)
    if kind is None and (given is not None or params.bounds is not None):
        kind = "value" if given is None else "class"
    if kind == "value":
        return Labels(Target(name, "value", bounds=params.bounds), {})
    if isinstance(params.classes, list):
        numbers: dict[str, int | None] = {str(number): number for number in range(len(params.classes))}
        if any(map(_WHOLE.fullmatch, params.classes)):
            numbers = {}  # labels that are numbers are names here, not positions
        names: dict[str, int | None] = {normalize("NFC", label): n for n, label in enumerate(params.classes)}
        return Labels(Target(name, "class", tuple(params.classes)), numbers | names)
    if given is not None:
        classes = tuple(dict.fromkeys(text for text in given.values() if text is not None))
        index_of = {normalize("NFC", key): None if text is None else classes.index(text) for key, text in given.items()}
        return Labels(Target(name, "class", classes), index_of)
    found = {as_text(value): value for value in values if not is_missing(value)}
    if not found:
        raise DataError(f"there is no label for {name!r}", where, "check the name of the column or field")
    if kind is None:
        found = _without_nan(found)
        if not all(map(_WHOLE.fullmatch, found)) and _all_numbers(found.values()):
            return Labels(Target(name, "value", bounds=params.bounds), {})
        _require_classes(found, where)
    if len(found) > _MOST_CLASSES:
        do = "for regression set `kind: value`, else name another column"
        raise DataError(f"{len(found)} different labels for {name!r}", where, do)
    ordered = list(class_names(list(found), None, where))
    return Labels(Target(name, "class", tuple(ordered)), {label: number for number, label in enumerate(ordered)})


def _without_nan(found: dict[str, Raw]) -> dict[str, Raw]:
    """The labels without the text `NaN`, if all others are numbers."""
    others = {text: raw for text, raw in found.items() if text.casefold() != "nan"}
    return others if others and _all_numbers(others.values()) else found


def _require_classes(found: Iterable[str], where: str) -> None:
    """Raises a DataError if most of the labels are decimal numbers, which are values and no classes."""
    labels = list(found)
    decimal = [label for label in labels if _FRACTION.fullmatch(label)]
    if 2 * len(decimal) <= len(labels):
        return
    other = next((label for label in labels if not _FRACTION.fullmatch(label.replace(",", "."))), None)
    what = f"labels such as {decimal[0]!r} are numbers"
    if other is None:
        raise DataError(f"{what} with a decimal comma", where, "write decimal points, or set `kind: class`")
    raise DataError(f"{what}, {other!r} is none", where, "fix these labels, or set `kind: value` or `kind: class`")


def _all_numbers(values: Iterable[Raw]) -> bool:
    try:
        return all(math.isfinite(as_number(value)) for value in values)
    except ValueError:
        return False


def _short(value: Raw) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
