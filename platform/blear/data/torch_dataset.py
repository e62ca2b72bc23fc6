"""`blear.Dataset`: prepared shards in a PyTorch loop of one's own, by index or as exactly ordered batches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset

from blear.contracts import BuildContext, ClipSpec, Target
from blear.data.decoded.store import Store
from blear.data.loader import batches
from blear.data.prepared import Prepared
from blear.data.sampling.sampler import Sampler
from blear.degradation.arrays import parse_entries
from blear.degradation.chain import Chain, as_float, build_chain
from blear.errors import DataError
from blear.plugin.discovery import load_plugins

Example = tuple[Tensor, dict[str, Tensor]]
"""Frames, float32 in [0, 1], and target name -> label."""


class Dataset(TorchDataset[Example]):
    """A split of prepared shards. It is a map-style dataset of PyTorch, and may be read by a `DataLoader`.

    An item is `(frames, targets)`: frames are float32 in [0, 1], [C, H, W] or, of clips, [T, C, H, W]; targets are
    target name -> class index (int64), value (float32) or distribution (float32 [K]). Samples are decoded once into a
    cache beside the shards, as in training.

    Example:
        data = blear.Dataset("shards/faces-procedural/1a2b3c", "train")
        frames, targets = data[0]
        for frames, targets in data.batches(64, steps=1000, seed=0):
            ...

    Attributes:
        split: name of the split.
    """

    def __init__(
        self, place: str | Path, split: str | None = None, *, max_broken: int = 0, cache_gb: float | None = None
    ) -> None:
        """Opens a split.

        Args:
            place: folder or URL of prepared shards, as `blear prepare` prints it.
            split: name of the split; None: the training split.
            max_broken: how many samples may be undecodable before reading stops.
            cache_gb: budget of the cache of decoded samples in 10^9 bytes; 0: no cache; None: most of the disk.

        Raises:
            DataError: there is no prepared dataset, or it has no such split.
        """
        self._prepared = Prepared.open(place)
        self.split = split or self._prepared.splits[0]
        self._prepared.split(self.split)
        self._options: dict[str, Any] = {"max_broken": max_broken, "cache_gb": cache_gb}
        self._opened: tuple[int, Store] | None = None

    @property
    def place(self) -> str:
        """Folder or URL of the prepared shards."""
        return self._prepared.place

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the dataset's splits, the training split first."""
        return self._prepared.splits

    @property
    def targets(self) -> dict[str, Target]:
        """Target name -> its kind, classes and bounds."""
        return self._prepared.targets

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Target name -> names of its classes, of targets that have classes."""
        return {name: target.classes for name, target in self.targets.items() if target.classes}

    @property
    def clip(self) -> ClipSpec:
        """Shape of the clips; a still picture is a clip of one frame."""
        return self._prepared.clip

    @property
    def terms(self) -> str:
        """Licence and source of the raw data."""
        return self._prepared.terms

    def __len__(self) -> int:
        return self._prepared.count(self.split)

    def __getitem__(self, index: int) -> Example:
        """Reads one sample.

        Raises:
            IndexError: there is no such sample.
            DataError: the sample cannot be decoded.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Reads several samples together, as `DataLoader` does."""
        samples_B = np.asarray([index + len(self) if index < 0 else index for index in indices], dtype=np.int64)
        outside_B = (samples_B < 0) | (samples_B >= len(self))
        if outside_B.any():
            raise IndexError(f"there are {len(self)} samples, no sample {indices[int(outside_B.argmax())]}")
        decoded = self._store.take(samples_B)
        if not decoded.good_B.all():
            broken = self._store.keys(samples_B[~decoded.good_B])[0]
            raise DataError(f"sample {broken} cannot be decoded", self._prepared.place, "prepare the data again")
        frames = self._stills(as_float(decoded.frames, torch.device("cpu")))
        return [
            (frames[row], {name: values[row] for name, values in decoded.targets.items()}) for row in range(len(frames))
        ]

    def keys(self) -> list[str]:
        """Key of each sample, in order; no shard is read."""
        return self._store.keys(np.arange(len(self), dtype=np.int64))

    def batches(
        self,
        batch_size: int,
        *,
        steps: int,
        seed: int = 0,
        degrade: Sequence[Mapping[str, Any]] = (),
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> Batches:
        """Returns shuffled batches in the order of a job's training: every sample once in an epoch, batches full.

        The order is a function of (seed, step) for any number of workers, and can be entered at any step.

        Args:
            batch_size: samples of a global batch, over all workers.
            steps: number of batches.
            seed: seed of the order and of the degradations.
            degrade: list of degradations as in a job, applied with the keys of (seed, epoch, sample).
            rank: number of this worker.
            world: number of workers, which share each batch.
            device: device of the batches.

        Raises:
            JobError, PluginError: a degradation is malformed or not installed.
        """
        return Batches(self, batch_size, steps, seed, degrade, (rank, world), torch.device(device))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    @property
    def _store(self) -> Store:
        """The store of this process: its threads do not survive a fork of a `DataLoader`."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), Store.open(self._prepared, self.split, **self._options))
        return self._opened[1]

    def _stills(self, frames_BTCHW: Tensor) -> Tensor:
        """[B, C, H, W] of still pictures; clips as they are."""
        return frames_BTCHW[:, 0] if self.clip.length == 1 else frames_BTCHW


class Batches(IterableDataset[Example]):
    """Batches of a `Dataset` in an exact order; `state_dict` holds the position, and `load_state_dict` returns to it.

    Iterating yields `(frames, targets)`: frames float32 [B, C, H, W], or [B, T, C, H, W] of clips, on the device;
    targets as in `Dataset`, with a first dimension B. In a `DataLoader`, pass `batch_size=None` and no workers:
    batches are read ahead by threads.

    Attributes:
        step: number of the next batch.
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        steps: int,
        seed: int,
        degrade: Sequence[Mapping[str, Any]],
        worker: tuple[int, int],
        device: torch.device,
    ) -> None:
        self._data, self._steps, self._seed, self._worker, self._device = data, steps, seed, worker, device
        counts = [shard.samples for shard in data._prepared.split(data.split).shards]
        self._sampler = Sampler(counts, batch_size, seed)
        context = BuildContext(seed, data.clip, data.targets)
        self._chain: Chain = build_chain(load_plugins(), parse_entries(degrade), context, "degrade")[0]
        self.step = 0

    def __len__(self) -> int:
        """Number of batches from the next one on."""
        return max(0, self._steps - self.step)

    def __iter__(self) -> Iterator[Example]:
        rank, world = self._worker
        reading = batches(self._data._store, self._sampler, self.step, self._steps, rank, world, device=self._device)
        with contextlib.closing(reading):
            for raw in reading:
                frames = as_float(raw.frames_BTCHW, self._device)
                frames = self._chain(frames, raw.epochs_B, raw.samples_B, self.step / self._steps)
                targets = {name: values.to(self._device) for name, values in raw.targets.items()}
                self.step += 1
                yield self._data._stills(frames), targets

    def state_dict(self) -> dict[str, int]:
        """The position: the number of the next batch."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continues at a position that `state_dict` returned."""
        self.step = state["step"]
