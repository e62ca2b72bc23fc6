"""A split kept in device memory: each sample is read once, and batches are selected on the device."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from blear.data.frame_sampling import FrameSelector
from blear.data.sample_source import DecodedSamples, SampleSource
from blear.progress import echo

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from blear.data.dataset_info import ShardInfo

MEMORY_SHARE = 0.5
"""Largest share of the free device memory that a split may use."""
_UNREAD, _GOOD, _BROKEN = 0, 1, 2


def keep_on_device(
    store: SampleSource, device: torch.device, budget: int | None = None, *, gpu_share: float = 1.0
) -> SampleSource:
    """Returns a store that keeps the split on the device if its tensors fit the budget, else `store` itself.

    Args:
        store: reads samples that are not on the device yet.
        device: device of the batches.
        budget: bytes; None: `MEMORY_SHARE` of the free memory of a CUDA device, and 0 for other devices, where
            the memory maps of the store have the same effect.
        gpu_share: part of the GPU that this process may use; the default budget is multiplied by it.

    Raises:
        DataError: the store raises it. The first good sample is read to compute the size of the split.
    """
    import torch

    if budget is None:
        budget = int(torch.cuda.mem_get_info(device)[0] * MEMORY_SHARE * gpu_share) if device.type == "cuda" else 0
    first = _first_good(store) if budget > 0 else None
    if first is None:
        return store
    tensors = [first.frames, first.clean, *first.targets.values()]
    size = len(store) * sum(tensor.nbytes for tensor in tensors if tensor is not None)
    if size > budget:
        return store
    echo(f"{len(store)} samples are kept on {device}: {size / 2**20:.0f} MiB")
    return DeviceResidentStore(store, device, first)


class DeviceResidentStore:
    """A store that copies samples to the device when they are first read, and keeps them there. Thread-safe.

    Args:
        store: reads each sample once.
        device: device of the samples and of the batches.
        example: one good sample, which sets shapes and types.
    """

    def __init__(self, store: SampleSource, device: torch.device, example: DecodedSamples) -> None:
        self._store, self._device = store, device
        self._frames = self._allocate(example.frames)
        self._clean = None if example.clean is None else self._allocate(example.clean)
        self._targets = {name: self._allocate(values) for name, values in example.targets.items()}
        self._state = np.full(len(store), _UNREAD, dtype=np.uint8)
        self._write_lock = threading.Lock()
        self._lengths_N: np.ndarray | None = None

    @property
    def shards(self) -> Sequence[ShardInfo]:
        """The shards of the split."""
        return self._store.shards

    @property
    def progress(self) -> int:
        """The progress of the store."""
        return self._store.progress

    def __len__(self) -> int:
        return len(self._store)

    def keys(self, samples_B: np.ndarray) -> list[str]:
        """Key of each sample."""
        return self._store.keys(samples_B)

    def lengths(self, samples_B: np.ndarray) -> np.ndarray:
        """Number of frames of each clip, int64 [B]."""
        if self._lengths_N is None:
            self._lengths_N = self._store.lengths(np.arange(len(self)))
        return self._lengths_N[samples_B]

    def take(self, samples_B: np.ndarray, select_frames: FrameSelector | None = None) -> DecodedSamples:
        """Samples on the device, broken ones left out; `select_frames` selects frames of each clip (None: all)."""
        import torch

        unread = np.unique(samples_B[self._state[samples_B] == _UNREAD])
        if len(unread):
            self._store_samples(unread, self._store.take(unread))
        good_B = self._state[samples_B] == _GOOD
        rows = torch.from_numpy(samples_B[good_B]).to(self._device)
        frames_BT = None
        if select_frames is not None:
            frames_BT = torch.from_numpy(select_frames(self.lengths(samples_B))[good_B]).to(self._device)
        return DecodedSamples(
            good_B=good_B,
            frames=_select(self._frames, rows, frames_BT),
            clean=None if self._clean is None else _select(self._clean, rows, frames_BT),
            targets={name: values.index_select(0, rows) for name, values in self._targets.items()},
        )

    def _store_samples(self, samples: np.ndarray, decoded: DecodedSamples) -> None:
        import torch

        rows = torch.from_numpy(samples[decoded.good_B]).to(self._device)
        with self._write_lock:  # two threads may read the same sample; both write the same values
            self._frames.index_copy_(0, rows, decoded.frames.to(self._device))
            if self._clean is not None and decoded.clean is not None:
                self._clean.index_copy_(0, rows, decoded.clean.to(self._device))
            for name, values in decoded.targets.items():
                self._targets[name].index_copy_(0, rows, values.to(self._device))
            self._state[samples] = np.where(decoded.good_B, _GOOD, _BROKEN)

    def _allocate(self, example: Tensor) -> Tensor:
        return example.new_empty((len(self._store), *example.shape[1:]), device=self._device)


def _select(clips: Tensor, rows: Tensor, frames_BT: Tensor | None) -> Tensor:
    """Selects clips, and the given frames of each clip (None: all)."""
    if frames_BT is None:
        return clips.index_select(0, rows)
    return clips[rows[:, None], frames_BT.clamp(max=clips.shape[1] - 1)]


def _first_good(store: SampleSource) -> DecodedSamples | None:
    for number in range(len(store)):
        decoded = store.take(np.array([number]))
        if decoded.good_B.all():
            return decoded
    return None
