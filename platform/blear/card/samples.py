"""Labelled samples of a card: a folder of class folders, a table, a dataset component, or the data of a job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from blear.card.labels import plain_name
from blear.contracts import BuildContext, Dataset, Framed, Sample
from blear.data.prepare.picture_sample import sample_pictures
from blear.errors import DataError
from blear.imaging import Framing
from blear.job.reader import read_job
from blear.pipeline.new_job import with_targets
from blear.plugin.catalog import Catalog

ALL = "all"
"""In place of a split: the samples of every split."""
TABLES = (".csv", ".tsv", ".jsonl", ".parquet", ".gz")
_SIZES = (32, 48, 64, 96)
_JOBS = (".yaml", ".yml")


@dataclass(frozen=True)
class CardData:
    """The samples of a card, in memory.

    Attributes:
        use: name of the dataset component.
        params: its parameters.
        split: name of the split, or `ALL`.
        target: name of the class target.
        classes: names of its classes.
        frames_NTHWC: uint8 in 0..255, or float32 in [0, 1].
        truth_N: class index of each sample, int64.
        samples: without their frames.
        numbers_N: position of each sample in the split, from which its random numbers are drawn.
        framing: how the faces were cut out of their pictures; None: not stated.
    """

    use: str
    params: Mapping[str, Any]
    split: str
    target: str
    classes: tuple[str, ...]
    frames_NTHWC: np.ndarray
    truth_N: np.ndarray
    samples: Sequence[Sample]
    numbers_N: np.ndarray
    terms: str = ""
    framing: Framing | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Digest of pictures, labels and positions."""
        digest = hashlib.sha256(repr((self.frames_NTHWC.shape, str(self.frames_NTHWC.dtype), self.classes)).encode())
        for array in (self.frames_NTHWC, self.truth_N, self.numbers_N):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def without_classes(self, names: Sequence[str]) -> CardData:
        """Leaves classes and their samples out. Names match without regard to case, as in `match_labels`.

        Raises:
            DataError: there is no such class, or fewer than two classes are left.
        """
        plain = {plain_name(name): name for name in self.classes}
        if unknown := [name for name in names if plain_name(name) not in plain]:
            do = f"their classes: {', '.join(self.classes)}"
            raise DataError(f"the data have no class {unknown[0]!r}", f"--labels ={unknown[0]}", do)
        names = [plain[plain_name(name)] for name in names]
        kept = [number for number, name in enumerate(self.classes) if name not in names]
        if len(kept) < 2 or not np.isin(self.truth_N, kept).any():
            raise DataError(f"without {', '.join(names)} fewer than two classes are left", "--labels", "leave out less")
        rows = np.flatnonzero(np.isin(self.truth_N, kept))
        own = [self.samples[int(row)] for row in rows]
        place = np.full(len(self.classes), -1, dtype=np.int64)
        place[kept] = np.arange(len(kept))
        counts = {name: int((self.truth_N == self.classes.index(name)).sum()) for name in names}
        return replace(
            self,
            classes=tuple(self.classes[number] for number in kept),
            frames_NTHWC=self.frames_NTHWC[rows],
            truth_N=place[self.truth_N[rows]],
            samples=own,
            numbers_N=self.numbers_N[rows],
            left_out={**self.left_out, **counts},
        )


def open_dataset(
    data: str, params: Mapping[str, Any], target: str | None, catalog: Catalog
) -> tuple[str, dict[str, Any]]:
    """Finds the dataset component that reads DATA, and its parameters.

    Args:
        data: a folder of class folders; a table; the name of a component; or JOB.yaml:NAME, an entry of a job's `data`.
        params: parameters of the component that the user gives.
        target: the label, as TARGET or as TARGET=COLUMN of a table.

    Raises:
        DataError: there is no such data, or no label is found.
        PluginError: there is no such component.
    """
    path = Path(data).expanduser()
    job, _, entry = data.rpartition(":") if not data.endswith(_JOBS) else (data, "", "")
    if job.endswith(_JOBS):
        return _of_job(Path(job), entry, params)
    if path.is_dir() or path.is_file():
        if path.is_file() and path.suffix not in TABLES:
            raise DataError("is no table", data, f"give a folder of class folders, or a table: {', '.join(TABLES)}")
        use, found = ("folders" if path.is_dir() else "table"), {"source": data, **params}
    else:
        if not data.replace("/", "").replace("_", "").isalnum():
            raise DataError("there is no such file, folder or dataset", data, "check the path")
        use, found = data, dict(params)
    found = with_targets(use, found, target)
    if path.exists() and not {"size", "color"} & set(params):
        found |= _shape(path, use, found, catalog)
    return catalog.get("dataset", use).name, found


def read_samples(
    use: str, params: Mapping[str, Any], split: str, target: str | None, catalog: Catalog, limit: int | None = None
) -> CardData:
    """Reads a split into memory.

    Args:
        split: name of a split, or `ALL`.
        target: name of the class target; None: the only one, or the first one.
        limit: largest number of samples; more are thinned out at random, the same ones each time.

    Raises:
        DataError: there is no such split or class target, or there are no samples.
    """
    component = catalog.get("dataset", use)
    dataset: Dataset = component.build(params, BuildContext())
    wanted = None if target is None else target.partition("=")[0]
    chosen = next((t for t in dataset.targets if t.kind == "class" and wanted in (None, t.name)), None)
    if chosen is None:
        found = ", ".join(f"{one.name} ({one.kind})" for one in dataset.targets)
        raise DataError(f"the data have no class target{f' {wanted!r}' if wanted else ''}: {found}", use, "name one")
    if split != ALL and split not in dataset.splits:
        do = f"use --split with one of: {', '.join([*dataset.splits, ALL])}"
        raise DataError(f"no split is called {split!r}", use, do)
    names = list(dataset.splits) if split == ALL else [split]
    samples = [
        sample if split != ALL else replace(sample, key=f"{name}/{sample.key}")
        for name in names
        for part in dataset.parts(name)
        for sample in dataset.samples(name, part)
    ]
    if not samples:
        raise DataError(f"split {split!r} has no samples", use, f"use one of: {', '.join([*dataset.splits, ALL])}")
    if len({sample.frames.shape for sample in samples}) > 1:
        raise DataError("the clips differ in length", use, "give pictures, or clips of one length")
    numbers = np.arange(len(samples))
    if limit is not None and limit < len(samples):
        numbers = np.sort(np.random.default_rng(0).permutation(len(samples))[:limit])
    kept = [samples[number] for number in numbers]
    return CardData(
        use=component.name,
        params=params,
        split=split,
        target=chosen.name,
        classes=tuple(chosen.classes),
        frames_NTHWC=np.stack([sample.frames for sample in kept]),
        truth_N=np.array([sample.targets[chosen.name] for sample in kept], dtype=np.int64),
        samples=[replace(sample, frames=np.empty(0)) for sample in kept],
        numbers_N=numbers,
        terms=dataset.terms,
        framing=dataset.framing if isinstance(dataset, Framed) else None,
    )


def _of_job(file: Path, entry: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    job, _ = read_job(file)
    names = list(job.data)
    if not entry and len(names) == 1:
        (entry,) = names
    if entry not in job.data:
        do = f"write {file}:NAME with one of: {', '.join(names)}"
        raise DataError(f"the job has no data {entry!r}" if entry else "the job has several data", str(file), do)
    data = job.data[entry]
    if data.shards is not None:
        raise DataError("the job's data are prepared shards", str(file), "give the raw data, with the dataset's name")
    use, own = data.chosen
    return use, {**own, **params}


def _shape(path: Path, use: str, params: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    """Size and colour of own pictures: the largest usual size that the median picture has; grey pictures stay grey."""
    fields = catalog.get("dataset", use).component.params.model_fields
    checked = catalog.get("dataset", use).checked_params(params)
    pictures = sample_pictures([path] if path.is_dir() else [Path(file) for file in checked.raw_files()])
    found: dict[str, Any] = {}
    if "size" in fields:
        fitting = [size for size in _SIZES if size <= (pictures.median or _SIZES[-1])]
        found["size"] = fitting[-1] if fitting else _SIZES[0]
    return found | ({"color": "grey"} if pictures.grey and "color" in fields else {})
