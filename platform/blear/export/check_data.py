"""Samples and conditions with which an exported file is compared with its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from blear.contracts import BuildContext, ClipSpec
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.errors import DataError
from blear.job.reader import read_job
from blear.job.schema import Evaluate
from blear.job.shipped_jobs import job_template
from blear.models.conditions import TEST_FILE, parse_conditions, read_conditions, read_split
from blear.models.model import Model
from blear.models.shipped import shipped_models
from blear.pipeline.prepare import prepare_data
from blear.plugin.catalog import Catalog
from blear.train.model import stage_frame_sampler

_PICTURES = 64


@dataclass(frozen=True)
class CheckData:
    """Samples of one split.

    Attributes:
        frames_NTHWC: uint8 in 0..255, or float32 in [0, 1].
        truth_N: class index of each sample; None: not known.
        target: name of the class target; empty where `truth_N` is None.
        name: where the samples come from, for messages.
    """

    frames_NTHWC: np.ndarray
    truth_N: np.ndarray | None
    target: str
    name: str

    def take(self, count: int) -> CheckData:
        """At most `count` samples, evenly spaced."""
        if len(self.frames_NTHWC) <= count:
            return self
        numbers = np.linspace(0, len(self.frames_NTHWC) - 1, count).round().astype(np.int64)
        truth_N = None if self.truth_N is None else self.truth_N[numbers]
        return replace(self, frames_NTHWC=self.frames_NTHWC[numbers], truth_N=truth_N)


def run_folder(model: str) -> tuple[Path, str | None] | None:
    """The run folder and the stage that `runs/NAME` or `runs/NAME/stages/STAGE` names; None for other models."""
    path = Path(model).expanduser()
    if (path / "job.yaml").is_file():
        return path, None
    if path.parent.name == "stages" and (path / "stage.json").is_file():
        return path.parent.parent, path.name
    return None


@dataclass(frozen=True)
class Source:
    """Raw data: file or folder, and the dataset component that reads it (None: that of the training data)."""

    path: Path
    dataset: str | None = None


def labelled_data(
    model: Model, catalog: Catalog, source: Source, split: str, count: int, *, other: bool = False
) -> CheckData:
    """Samples of raw data.

    Args:
        other: the first split that is not `split`, where there is one.

    Raises:
        DataError: there is no such split, or the data do not have the classes of the model.
    """
    component = catalog.get("dataset", source.dataset or model.card.training.data)
    dataset = component.build({"source": str(source.path)}, BuildContext())
    chosen = _other(dataset.splits, split) if other else split
    read = read_split(dataset, chosen, model)
    return CheckData(read.frames_NTHWC, read.truth_N, read.target, f"{source.path}, split {chosen}").take(count)


def run_data(model: Model, root: Path, stage: str, split: str | None, count: int, *, other: bool = False) -> CheckData:
    """Samples of the data of a stage, from its prepared shards, which are written where they are missing.

    Args:
        split: name of the split; None: the one that the job evaluates, else the last one.
        other: the first split that is not this one, where there is one.
    """
    job, catalog = read_job(root / "job.yaml")
    spec = job.stages[stage]
    data = Prepared.open(prepare_data(job, catalog)[spec.data])
    chosen = split or (data.splits[-1] if job.evaluate is None else job.evaluate.split)
    chosen = _other(data.splits, chosen) if other else chosen
    store = Store.open(data, chosen, max_broken=job.max_broken)
    numbers = np.linspace(0, len(store) - 1, min(count, len(store))).round().astype(np.int64)
    sampler = stage_frame_sampler(spec, job.seed, data.clip)
    select = None if sampler is None else partial(replace(sampler, mode="even"), np.zeros_like(numbers), numbers)
    read = store.take(numbers, select)
    target = next((name for name in model.labels if name in read.targets and read.targets[name].ndim == 1), "")
    truth_N = read.targets[target].numpy() if target else None
    frames_NTHWC = read.frames.permute(0, 1, 3, 4, 2).numpy()
    return CheckData(frames_NTHWC, truth_N, target, f"{data.name}, split {chosen}")


def _other(splits: Sequence[str], split: str) -> str:
    return next((name for name in splits if name != split), split)


def seeded_pictures(clip: ClipSpec, count: int = _PICTURES) -> CheckData:
    """Pictures without content: noise whose spectrum falls with the frequency, as that of photographs does.

    Frames of a clip are shifted against each other by one pixel.
    """
    generator = np.random.default_rng(0)
    shape = (count, clip.channels, clip.height, clip.width)
    rows, columns = np.meshgrid(np.fft.fftfreq(clip.height), np.fft.fftfreq(clip.width), indexing="ij")
    spectrum = np.fft.fft2(generator.standard_normal(shape)) / np.maximum(np.hypot(rows, columns), 0.5 / clip.height)
    noise = np.fft.ifft2(spectrum).real
    noise = (noise - noise.mean(axis=(1, 2, 3), keepdims=True)) / noise.std(axis=(1, 2, 3), keepdims=True)
    level, contrast = generator.uniform(80, 180, (count, 1, 1, 1)), generator.uniform(20, 70, (count, 1, 1, 1))
    pictures = np.clip(level + contrast * noise, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    frames = np.stack([np.roll(pictures, step, axis=2) for step in range(clip.length)], axis=1)
    return CheckData(frames, None, "", f"{count} pictures of noise")


def chosen_conditions(given: Path | None, model: str, root: Path | None) -> tuple[Evaluate, str]:
    """The conditions of the check, and where they come from.

    Those that are given; else those of the run's job; else `test.yaml` of a model folder; else a small standard sweep.
    """
    if given is not None:
        return read_conditions(given), str(given)
    if root is not None:
        evaluate = read_job(root / "job.yaml")[0].evaluate
        if evaluate is not None:
            return evaluate, "the job"
    folders = [one.folder for one in shipped_models() if model in (one.name, one.short_name)]
    own = (folders[0] if folders else Path(model)) / TEST_FILE
    if own.is_file():
        return read_conditions(own), own.name
    return parse_conditions(job_template("conditions"), "conditions.yaml"), "the standard sweep"


def require_labels(data: CheckData) -> None:
    """Checks that accuracies can be computed.

    Raises:
        DataError: the samples have no classes.
    """
    if data.truth_N is None:
        do = "give labelled faces with --data, or export without --int8"
        raise DataError(f"8-bit weights need the accuracy on labelled samples; there is {data.name}", "--int8", do)
