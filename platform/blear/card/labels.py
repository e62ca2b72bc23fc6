"""Matches the classes of a model with those of the data: by name, never by order."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from blear.errors import RunError

_STEM = 3  # letters that two forms of a word share: anger and angry, fear and fearful


@dataclass(frozen=True)
class LabelMap:
    """How probabilities of a model become probabilities of the data's classes.

    Attributes:
        pairs: class of the model -> class of the data; None: its probability is left out.
        matrix_MK: float32, 1 where class m of the model belongs to class k of the data.
    """

    pairs: Mapping[str, str | None]
    matrix_MK: np.ndarray

    def __call__(self, probabilities_NM: np.ndarray) -> np.ndarray:
        """Sums the probabilities of each class of the data, and divides by their sum where classes are left out."""
        found_NK = probabilities_NM.astype(np.float64) @ self.matrix_MK
        total_N1 = found_NK.sum(axis=1, keepdims=True)
        even = np.full_like(found_NK, 1 / found_NK.shape[1])
        return np.where(total_N1 > 0, found_NK / np.where(total_N1 > 0, total_N1, 1), even).astype(np.float32)

    def covers(self, probabilities_NM: np.ndarray) -> np.ndarray:
        """Whether any probability lies on classes of the data, bool [N]; without any, `__call__` returns even ones."""
        return np.asarray((probabilities_NM.astype(np.float64) @ self.matrix_MK).sum(axis=1) > 0)

    @property
    def left_out(self) -> list[str]:
        """Classes of the model that are no class of the data."""
        return [name for name, match in self.pairs.items() if match is None]

    @property
    def changed(self) -> dict[str, str | None]:
        """The pairs whose names differ."""
        return {ours: theirs for ours, theirs in self.pairs.items() if ours != theirs}


def parse_pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Splits `MODEL=DATA` texts, several ones separated by commas.

    Raises:
        RunError: a text has no `=`.
    """
    parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    for part in parts:
        if "=" not in part:
            raise RunError("expected MODEL=DATA", f"--labels {part}", "for instance --labels anger=angry")
    return [(ours.strip(), theirs.strip()) for ours, _, theirs in (part.partition("=") for part in parts)]


def left_out_classes(given: Sequence[tuple[str, str]]) -> list[str]:
    """The classes of the data that `=DATA` leaves out."""
    return [theirs for ours, theirs in given if not ours]


def match_labels(model: Sequence[str], data: Sequence[str], given: Sequence[tuple[str, str]], where: str) -> LabelMap:
    """Matches classes by name, without regard to case and spaces around it.

    Args:
        model: classes of the model, in the order of its outputs.
        data: classes of the data, without those that are left out.
        given: pairs (class of the model, class of the data) from the user; "" in place of a class of the data leaves
            the model's class out.
        where: the model, for messages.

    Raises:
        RunError: a class has no match; the message proposes `--labels` for all of them.
    """
    ours_of, theirs_of = {plain_name(name): name for name in model}, {plain_name(name): name for name in data}
    pairs: dict[str, str | None] = {name: theirs_of.get(plain_name(name)) for name in model}
    open_names = [name for name, match in pairs.items() if match is None]
    for ours, theirs in given:
        if plain_name(ours) not in ours_of:
            continue
        if theirs and plain_name(theirs) not in theirs_of:
            what = f"the data have no class {theirs!r}"
            raise RunError(what, f"--labels {ours}={theirs}", f"their classes: {', '.join(data)}")
        pairs[ours_of[plain_name(ours)]] = theirs_of.get(plain_name(theirs))
        open_names = [name for name in open_names if plain_name(name) != plain_name(ours)]
    missing = [name for name in data if name not in pairs.values()]
    if open_names or missing:
        raise _unmatched(model, data, open_names, missing, where)
    matrix = np.zeros((len(model), len(data)), np.float32)
    for row, name in enumerate(model):
        if (match := pairs[name]) is not None:
            matrix[row, list(data).index(match)] = 1
    return LabelMap(pairs, matrix)


def _unmatched(
    model: Sequence[str], data: Sequence[str], open_names: Sequence[str], missing: Sequence[str], where: str
) -> RunError:
    proposed, free = [], list(missing)
    for name in open_names:
        match = _closest(name, free)
        if match is not None:
            free.remove(match)
        proposed.append(f"{name}={match or ''}")
    proposed += [f"={name}" for name in free]
    what = f"its classes are {', '.join(model)}; those of the data {', '.join(data)}"
    do = f"if this is what you mean, add: --labels '{','.join(proposed)}'"
    do += "; X= leaves a class of the model out, =X the samples of a class of the data"
    return RunError(what, where, do)


def _closest(name: str, others: Sequence[str]) -> str | None:
    """The most similar name that shares its first letters."""
    plain = {plain_name(other): other for other in others}
    same = [other for other in plain if other[:_STEM] == plain_name(name)[:_STEM]]
    found = difflib.get_close_matches(plain_name(name), same, n=1, cutoff=0.3)
    return plain[found[0]] if found else None


def plain_name(name: str) -> str:
    """A class name without case and without spaces around it; names are compared in this form."""
    return name.strip().casefold().replace("_", " ")
