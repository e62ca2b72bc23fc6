"""`blear new`: writes a job for pictures of one's own, after looking into them."""

from __future__ import annotations

import json
import re
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from blear.contracts import BuildContext, Dataset
from blear.data.prepare.description import SplitCounts, count_samples
from blear.data.prepare.picture_sample import PictureSample, sample_pictures
from blear.errors import DataError, JobError, PluginError
from blear.job.reader import read_job
from blear.job.shipped_jobs import job_template
from blear.pipeline.data_facts import data_facts
from blear.pipeline.speed import seconds_per_sample
from blear.plugin.descriptions import format_use
from blear.plugin.discovery import load_plugins

LOOK_S = 30.0
"""Seconds in which samples are counted."""
STAGE_S, SHORT_STAGE_S = 300.0, 25.0
"""Seconds that each stage trains at most, by a measurement of a few steps; with less than `FEW` samples the second."""
FEW = 2000
_SIZES = (16, 24, 32, 48, 64, 96, 112, 128)
_BATCHES = (128, 64, 32, 16)
_LARGEST = {"cpu": 48, "cuda": 128}
_LABELS = ("emotion", "label", "class", "cls", "expression", "category", "target")
"""Columns and fields that hold the label, if none is named."""


@dataclass(frozen=True)
class Look:
    """What was found in the data.

    Attributes:
        target: name of the class target that is trained.
        counts: split -> its samples and classes.
        classes: names of the classes.
    """

    target: str
    classes: tuple[str, ...]
    counts: Mapping[str, SplitCounts]
    pictures: PictureSample

    @property
    def text(self) -> str:
        """One line: samples by split, classes with their counts in the training split, sizes."""
        splits = ", ".join(f"{n.samples}{'' if n.complete else ' or more'} {name}" for name, n in self.counts.items())
        train = next(iter(self.counts.values())).classes[self.target]
        classes = ", ".join(f"{name} {count}" for name, count in zip(self.classes, train, strict=True))
        sides = self.pictures.sides
        size = f"; shorter side {sides[0]} to {sides[-1]} pixels, median {self.pictures.median}" if sides else ""
        return " ".join(f"{splits}; {self.target}: {classes}{size}".split())


def write_new_job(use: str, params: Mapping[str, Any], target: str | None, file: Path) -> list[str]:
    """Looks into data and writes a job that trains on them.

    Args:
        use: the dataset component.
        params: its parameters: `source`, and those that the user gave.
        target: the label, as TARGET or as TARGET=COLUMN for a component with the parameter `targets`; None: found.
        file: the job file.

    Returns:
        Lines that say what was found, what was written, and what to do next.

    Raises:
        JobError: the file exists.
        DataError: the data cannot be read, or have no class target, or too few samples.
    """
    if file.exists():
        raise JobError("the file exists", str(file), "give another name with --out")
    params = with_targets(use, dict(params), target)
    fields = load_plugins().get("dataset", use).component.params.model_fields
    pictures = sample_pictures(_raw_files(use, params))
    params |= {"size": _size(pictures)} if "size" in fields and "size" not in params else {}
    params |= {"color": "grey"} if pictures.grey and "color" in fields and "color" not in params else {}
    look = _look(_dataset(use, params), target, pictures)
    facts = _facts(use, params, look)
    text = _fill(facts | {"steps": 1, "epochs": 0, "log_every": 1})
    file.write_text(text)
    try:
        facts |= _steps(file, look, int(facts["batch_size"]))
    except BaseException:
        file.unlink()
        raise
    seconds = facts.pop("seconds")
    file.write_text(_fill(facts))
    file.chmod(0o755)
    plan = f"{facts['steps']} steps ({facts['epochs']} epochs) for each of two stages, about {seconds:.0f} s each here"
    return [f"found: {look.text}", f"{file}: {plan}", f"next: blear run {file}"]


def with_targets(use: str, params: dict[str, Any], target: str | None) -> dict[str, Any]:
    """Adds the parameter `targets` where the component requires it: as given, or the first usual name that exists."""
    field = load_plugins().get("dataset", use).component.params.model_fields.get("targets")
    if field is None or not field.is_required():
        return params | ({"target": target} if target is not None else {})
    if target is not None:
        name, _, column = target.partition("=")
        return params | {"targets": {name: column or name}}
    problems: dict[str, list[DataError]] = {}  # message without the names -> errors
    for column in _LABELS:
        name = "emotion" if column == "cls" else column
        try:
            _ = _dataset(use, params | {"targets": {name: column}}).targets  # read when they are asked for
        except DataError as error:
            text = error.what.replace(f"'{column}'", "").replace(f"'{name}'", "").replace(f"targets.{name}", "")
            problems.setdefault(text, []).append(error)
        else:
            return params | {"targets": {name: column}}
    by_number = sorted(problems.values(), key=len)
    if len(by_number) > 1:  # most names do not exist, but this one does, and something else is wrong
        raise by_number[0][0]
    missing = by_number[0][-1]
    what = f"no label is called {', '.join(_LABELS[:-1])} or {_LABELS[-1]}"
    raise DataError(what, missing.where, f"name it: --target NAME=COLUMN; {missing.do}")


def _dataset(use: str, params: Mapping[str, Any]) -> Dataset:
    dataset: Dataset = load_plugins().get("dataset", use).build(params, BuildContext())
    return dataset


def _raw_files(use: str, params: Mapping[str, Any]) -> list[Path]:
    """Files to look into: those that the component names, else its source; none for a URL."""
    source = Path(str(params["source"]))
    try:
        checked = load_plugins().get("dataset", use).checked_params(params)
    except PluginError:
        return []
    named = getattr(checked, "raw_files", None)
    files = [Path(file) for file in named()] if callable(named) else []
    return files or ([source] if source.exists() else [])


def _size(pictures: PictureSample) -> int:
    """The largest usual size that the median picture has, bounded by what this machine can train."""
    largest = _LARGEST["cuda" if torch.cuda.is_available() else "cpu"]
    fitting = [size for size in _SIZES if size <= min(largest, pictures.median or largest)]
    return fitting[-1] if fitting else _SIZES[0]


def _look(dataset: Dataset, target: str | None, pictures: PictureSample) -> Look:
    names = [one for one in dataset.targets if one.kind == "class"]
    wanted = None if target is None else target.partition("=")[0]
    chosen = next((one for one in names if wanted in (None, one.name)), None)
    if chosen is None:
        found = ", ".join(f"{one.name} ({one.kind})" for one in dataset.targets)
        raise DataError(f"the data have no class target{f' {wanted!r}' if wanted else ''}: {found}", do="name one")
    end = time.monotonic() + LOOK_S
    splits = list(dataset.splits)
    counts = {}
    for left, split in zip(range(len(splits), 0, -1), splits, strict=True):
        now = time.monotonic()
        counts[split] = count_samples(dataset, split, now + (end - now) / left)
    if len(splits) < 2 or min(one.samples for one in counts.values()) < 1:
        raise DataError("there is no second split to test on", do="add a test folder, or a share: --set test=0.2")
    return Look(chosen.name, chosen.classes, counts, pictures)


def _facts(use: str, params: Mapping[str, Any], look: Look) -> dict[str, Any]:
    """Values of the template's fields that do not depend on the machine's speed."""
    samples = next(iter(look.counts.values())).samples
    size = params.get("size", 48)
    side = size if isinstance(size, int) else min(size)
    factors = [factor for factor in (1, 1.5, 2, 3, 4, 6, 8) if side / factor >= 6]
    shift = {"use": "random_affine", "degrees": 10, "translate": 0.1, "scale": [0.9, 1.1]}
    return {
        "name": _name(str(params["source"])),
        "found": look.text,
        "data": format_use(load_plugins().get("dataset", use).name, params),
        "augment": f"[{{use: random_flip}}, {format_use('random_affine', {k: shift[k] for k in shift if k != 'use'})}]",
        "width": 0.25 if samples < FEW else 0.5 if samples < 20_000 else 1.0,
        "target": look.target,
        "batch_size": next((size for size in _BATCHES if 6 * size <= samples), min(8, samples)),
        "factors": "{" + ", ".join(f"{factor:g}: 1" for factor in factors[1:]) + "}",
        "split": "test" if "test" in look.counts else list(look.counts)[-1],
        "sweep": json.dumps(factors),
    }


def _name(source: str) -> str:
    """A job's name: the last part of a path or URL, without its ending and the numbers of shards."""
    stem = re.sub(r"\{.*|\..*", "", source.split("::")[0].rstrip("/").split("/")[-1])
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-") or "pictures"


def _fill(facts: Mapping[str, Any]) -> str:
    """The job's text; every value is one line of YAML or of a comment."""
    return string.Template(job_template("pictures")).substitute(facts)


def _steps(file: Path, look: Look, batch_size: int) -> dict[str, Any]:
    """Number of steps: 40 epochs, fewer where they would take too long on this machine, but at least 3 epochs."""
    job, catalog = read_job(file)
    facts, unknown = data_facts(job, catalog)
    if unknown:
        raise DataError("; ".join(unknown.values()), str(file))
    name = list(job.stages)[-1]
    each = seconds_per_sample(job, name, catalog, facts[job.stages[name].data])
    samples = next(iter(look.counts.values())).samples
    limit = SHORT_STAGE_S if samples < FEW else STAGE_S
    epochs = max(3, min(40, int(limit / (each * samples))))
    steps = max(1, round(epochs * samples / batch_size))
    seconds = steps * batch_size * each
    return {"steps": steps, "epochs": epochs, "log_every": max(1, steps // 20), "seconds": seconds}
