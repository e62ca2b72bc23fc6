"""A split that lives on the device: each sample is read once, then every batch is a selection there."""

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

SHARE = 0.5
"""Of the device's free memory, what a split may take."""
_UNREAD, _GOOD, _BROKEN = 0, 1, 2


def keep_on_device(store: SampleSource, device: torch.device, budget: int | None = None) -> SampleSource:
    """The split on the device if its frames, clean clips and targets fit the budget there; else `store` itself.

    Args:
        store: reads what is not there yet.
        device: where the batches are wanted.
        budget: bytes; None: `SHARE` of the free memory of a CUDA device, and nothing elsewhere, where a store's own
            memory maps do the same.

    Raises:
        DataError: as of `store`, whose first sample that is not broken is read for its size.
    """
    import torch

    if budget is None:
        budget = int(torch.cuda.mem_get_info(device)[0] * SHARE) if device.type == "cuda" else 0
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
    """A store whose samples go to the device when they are first taken, and stay there. Thread-safe.

    Args:
        store: reads each sample once.
        device: where the samples are kept, and the batches are.
        like: one good sample, for shapes and types.
    """

    def __init__(self, store: SampleSource, device: torch.device, like: DecodedSamples) -> None:
        self._store, self._device = store, device
        self._frames = self._room(like.frames)
        self._clean = None if like.clean is None else self._room(like.clean)
        self._targets = {name: self._room(values) for name, values in like.targets.items()}
        self._state = np.full(len(store), _UNREAD, dtype=np.uint8)
        self._writing = threading.Lock()
        self._lengths_N: np.ndarray | None = None

    @property
    def shards(self) -> Sequence[ShardInfo]:
        """What the split consists of."""
        return self._store.shards

    @property
    def progress(self) -> int:
        """That of the store."""
        return self._store.progress

    def __len__(self) -> int:
        return len(self._store)

    def keys(self, samples_B: np.ndarray) -> list[str]:
        """The samples' keys."""
        return self._store.keys(samples_B)

    def lengths(self, samples_B: np.ndarray) -> np.ndarray:
        """Frames that each clip has, int64 [B]."""
        if self._lengths_N is None:
            self._lengths_N = self._store.lengths(np.arange(len(self)))
        return self._lengths_N[samples_B]

    def take(self, samples_B: np.ndarray, select_frames: FrameSelector | None = None) -> DecodedSamples:
        """The samples that are not broken, on the device; `select_frames` chooses the frames of each clip."""
        import torch

        unread = np.unique(samples_B[self._state[samples_B] == _UNREAD])
        if len(unread):
            self._keep(unread, self._store.take(unread))
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

    def _keep(self, samples: np.ndarray, taken: DecodedSamples) -> None:
        import torch

        rows = torch.from_numpy(samples[taken.good_B]).to(self._device)
        with self._writing:  # two threads may have read a sample; then it is written twice alike
            self._frames.index_copy_(0, rows, taken.frames.to(self._device))
            if self._clean is not None and taken.clean is not None:
                self._clean.index_copy_(0, rows, taken.clean.to(self._device))
            for name, values in taken.targets.items():
                self._targets[name].index_copy_(0, rows, values.to(self._device))
            self._state[samples] = np.where(taken.good_B, _GOOD, _BROKEN)

    def _room(self, like: Tensor) -> Tensor:
        return like.new_empty((len(self._store), *like.shape[1:]), device=self._device)


def _select(clips: Tensor, rows: Tensor, frames_BT: Tensor | None) -> Tensor:
    """Some clips, or the chosen frames of each."""
    if frames_BT is None:
        return clips.index_select(0, rows)
    return clips[rows[:, None], frames_BT.clamp(max=clips.shape[1] - 1)]


def _first_good(store: SampleSource) -> DecodedSamples | None:
    for number in range(len(store)):
        taken = store.take(np.array([number]))
        if taken.good_B.all():
            return taken
    return None
