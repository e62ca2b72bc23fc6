"""One decision for each input: a table of summed probabilities, and a file with the class for each."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blear.errors import RunError
from blear.predict.inputs import Input, printable
from blear.storage.run_folder import write_text

TABLE = "clips.csv"


class ClipDecisions:
    """Writes `DIR/NAME.txt`, the class of input NAME, and `DIR/clips.csv`, all inputs with their scores.

    The score of a class is the sum of its probabilities over all faces of the input; the class with the largest score
    is the decision. An input without a face has scores of 0, and the class with the largest mean probability over the
    faces of all inputs; without any face at all, the first class.

    Args:
        folder: the folder DIR.
        inputs: the inputs. NAME is the name of a video without suffix, or of a folder.
        target: the class target.
        classes: its class names, in the model's order.
        words: the words of the classes in both files; empty: the class names.

    Raises:
        RunError: two inputs have the same NAME, or `words` are not one word for each class.
    """

    def __init__(
        self, folder: Path, inputs: Sequence[Input], target: str, classes: Sequence[str], words: Sequence[str] = ()
    ) -> None:
        if words and len(words) != len(classes):
            do = f"give one word for each of {', '.join(classes)}, in this order"
            raise RunError(f"there are {len(words)} words, but {len(classes)} classes", "--words", do)
        self._folder, self._target, self._classes, self._words = folder, target, classes, list(words or classes)
        self._names: dict[str, str] = {}
        seen: dict[str, str] = {}
        for source in inputs:
            name = source.path.name if source.is_folder else source.path.stem
            if (twin := seen.setdefault(name, source.name)) != source.name:
                raise RunError(f"two inputs are called {name}: {twin}", source.name, "rename one of them")
            self._names[source.name] = name

    def write(self, records: Iterable[Mapping[str, Any]], inputs: Iterable[str]) -> None:
        """Writes the files.

        Args:
            records: the faces of all inputs, as `to_record` makes them.
            inputs: the inputs that could be read.
        """
        faces = dict.fromkeys(inputs, 0)
        scores = {name: np.zeros(len(self._classes)) for name in faces}
        for record in records:
            if (name := record["input"]) in faces:
                fields = record.get(self._target, record)
                faces[name] += 1
                scores[name] += [fields["probabilities"][each] for each in self._classes]
        everywhere = sum(scores.values(), np.zeros(len(self._classes)))
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".{TABLE}.writing"
        with partial.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["clip", self._target, "faces", *self._words])
            for name, score in scores.items():
                word = self._words[int((score if faces[name] else everywhere).argmax())]
                table.writerow([printable(self._names[name]), word, faces[name], *(f"{value:.6f}" for value in score)])
                write_text(self._folder / f"{self._names[name]}.txt", f"{word}\n")
        partial.replace(self._folder / TABLE)
