"""What a chain is made of: one operation, or nodes in order, one of several, in any order, for some samples only.

A node is called with the frames of some samples, their keys, whose stream is the node's own, and the kbit/s of each
clip so far, which a codec in it overwrites. Each part of a node draws from a stream of its own: member i from
`keys.nested(i)`, the node's own choices from streams below zero. Only the samples that an operation applies to go
through it, so that a draw never depends on the rest of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from blear.contracts import Coding, Degradation, DrawKeys, OnCpu
from blear.uses import Ramp, ramp

_COIN, _CHOICE = -1, -2


class Node(Protocol):
    """A part of a chain.

    Attributes:
        on_cpu: whether all of it works on the CPU wherever the frames lie.
    """

    @property
    def on_cpu(self) -> bool: ...

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames; `kbps_B` is changed in place."""
        ...


@dataclass(frozen=True)
class Operation:
    """A built degradation."""

    operation: Degradation

    @property
    def on_cpu(self) -> bool:
        """What the operation says."""
        return isinstance(self.operation, OnCpu) and self.operation.on_cpu

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Draws on the CPU, applies on the device."""
        device = frames_BTCHW.device
        draws = {name: value.to(device, non_blocking=True) for name, value in self.operation.draw(keys).items()}
        if not isinstance(self.operation, Coding):
            return self.operation.apply(frames_BTCHW, draws)
        frames_BTCHW, spent_B = self.operation.apply_coded(frames_BTCHW, draws)
        np.copyto(kbps_B, spent_B, where=~np.isnan(spent_B))
        return frames_BTCHW


@dataclass(frozen=True)
class Sometimes:
    """A node that some samples go through, at some steps; the others stay as they are.

    Attributes:
        p: probability for each sample; None: all of them.
        first, until: fractions of the stage's steps between which it applies; until 1 has no end.
    """

    node: Node
    p: Ramp | None
    first: float
    until: float

    @property
    def on_cpu(self) -> bool:
        """Whether its node is."""
        return self.node.on_cpu

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Frames of the same shape."""
        which_K = np.flatnonzero(self.chosen(keys))
        if len(which_K) == 0:
            return frames_BTCHW
        if len(which_K) == len(frames_BTCHW):
            return self.node(frames_BTCHW, keys, kbps_B)
        changed = _through(self.node, frames_BTCHW, keys, kbps_B, which_K)
        index_K = torch.from_numpy(which_K).to(frames_BTCHW.device)
        return frames_BTCHW.index_copy(0, index_K, changed.to(frames_BTCHW.dtype))

    def chosen(self, keys: DrawKeys) -> np.ndarray:
        """Which samples go through it, bool [B]."""
        if keys.progress < self.first or (keys.progress >= self.until and self.until < 1):
            return np.zeros(len(keys.samples_B), dtype=bool)
        if self.p is None:
            return np.ones(len(keys.samples_B), dtype=bool)
        return keys.nested(_COIN).uniform()[:, 0] < ramp(self.p, keys.progress)


@dataclass(frozen=True)
class _Group:
    members: Sequence[Node]

    @property
    def on_cpu(self) -> bool:
        """Whether all members are."""
        return all(member.on_cpu for member in self.members)


@dataclass(frozen=True)
class InOrder(_Group):
    """Nodes one after another."""

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames."""
        for number, member in enumerate(self.members):
            frames_BTCHW = member(frames_BTCHW, keys.nested(number), kbps_B)
        return frames_BTCHW


@dataclass(frozen=True)
class Chosen(_Group):
    """One of several nodes for each sample."""

    weights: Sequence[Ramp]

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames."""
        return _shared_out(self.members, frames_BTCHW, keys, kbps_B, self.choice(keys))

    def choice(self, keys: DrawKeys) -> np.ndarray:
        """Which member each sample goes through, int64 [B]."""
        edges = np.cumsum([ramp(weight, keys.progress) for weight in self.weights], dtype=np.float64)
        return np.searchsorted((edges / edges[-1])[:-1], keys.nested(_CHOICE).uniform()[:, 0], side="right")


@dataclass(frozen=True)
class Shuffled(_Group):
    """All nodes for each sample, in an order of its own: at each place, the samples of one node go through it."""

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames."""
        order_BM = np.argsort(keys.nested(_CHOICE).uniform(len(self.members)), axis=1, kind="stable")
        for choice_B in order_BM.T:
            frames_BTCHW = _shared_out(self.members, frames_BTCHW, keys, kbps_B, choice_B)
        return frames_BTCHW


def _shared_out(
    members: Sequence[Node], frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray, choice_B: np.ndarray
) -> Tensor:
    """Each sample through the member that `choice_B` says; members that nobody chose are not called."""
    used = np.unique(choice_B).tolist()
    if len(used) <= 1:
        return members[used[0]](frames_BTCHW, keys.nested(used[0]), kbps_B) if used else frames_BTCHW
    groups = [np.flatnonzero(choice_B == number) for number in used]
    parts = [
        _through(members[number], frames_BTCHW, keys.nested(number), kbps_B, which_K)
        for number, which_K in zip(used, groups, strict=True)
    ]
    back_B = torch.from_numpy(np.argsort(np.concatenate(groups))).to(frames_BTCHW.device)
    return torch.cat(parts).index_select(0, back_B)


def _through(node: Node, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray, which_K: np.ndarray) -> Tensor:
    """What becomes of some of the samples, [K, ...]."""
    kbps_K = kbps_B[which_K]
    index_K = torch.from_numpy(which_K).to(frames_BTCHW.device)
    changed = node(frames_BTCHW.index_select(0, index_K), keys.take(which_K), kbps_K)
    kbps_B[which_K] = kbps_K
    return changed
