"""Summarises the predictions of each person of each input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from blear.predict.rows import Labels

_MOST_LINES = 20


class PersonSummaries:
    """Means over the rows of each person, collected record by record."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._people: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Adds a record of `rows.to_record`."""
        person = self._people.setdefault(
            (record["input"], str(record["id"])),
            {"first": record["seconds"], "last": record["seconds"], "faces": 0, "px": 0.0, "sums": {}},
        )
        person["last"] = record["seconds"]
        person["faces"] += 1
        person["px"] += record["face_px"]
        for target in record["smoothed"]:
            fields = record.get(target, record)
            numbers = fields["probabilities"] if target in self._labels else {"": fields}
            sums = person["sums"].setdefault(target, dict.fromkeys(numbers, 0.0))
            for name, value in numbers.items():
                sums[name] += value

    def lines(self, source: str) -> Iterable[str]:
        """One line for each person of an input, those with most faces first, and the number of those left out."""
        people = [(name, person) for (of, name), person in self._people.items() if of == source]
        people.sort(key=lambda item: -item[1]["faces"])
        for name, person in people[:_MOST_LINES]:
            count = person["faces"]
            parts = []
            for target, sums in person["sums"].items():
                if target in self._labels:
                    top = max(sums, key=lambda one: sums[one])
                    parts.append(f"{target} {top} {sums[top] / count:.2f}")
                else:
                    parts.append(f"{target} {sums[''] / count:+.2f}")
            times = f"{person['first']:.1f} to {person['last']:.1f} s"
            size = person["px"] / count
            yield f"  person {name}: {times}, {count} faces of {size:.0f} px, on average {', '.join(parts)}"
        if len(people) > _MOST_LINES:
            yield f"  and {len(people) - _MOST_LINES} more persons with fewer faces"
