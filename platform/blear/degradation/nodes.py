"""The nodes of a degradation chain: `Operation`, `RandomApply`, `Sequential`, `OneOf` and `RandomOrder`.

Random streams: member i of a group draws from `keys.nested(i)`; the group's own choices draw from nested streams with
negative numbers. A node passes each sample only through the operations that apply to it, so the draws of a sample never
depend on the rest of the batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blear.contracts import Coding, Degradation, DrawKeys, Moving, OnCpu, Separable, SizeIndependent
from blear.degradation.routes import Node, Route, all_samples, apply_fused, routes_through, split_by_choice
from blear.plugin.uses import Schedule, schedule_value

_APPLY_STREAM, _CHOICE_STREAM = -1, -2


@dataclass(frozen=True)
class Operation:
    """A leaf of the chain: one built degradation."""

    operation: Degradation

    @property
    def on_cpu(self) -> bool:
        """Whether the degradation declares that it runs on the CPU (`contracts.OnCpu`)."""
        return isinstance(self.operation, OnCpu) and self.operation.on_cpu

    @property
    def separable(self) -> bool:
        """Whether the degradation has `operators` (`contracts.Separable`)."""
        return isinstance(self.operation, Separable)

    @property
    def size_independent(self) -> bool:
        """Whether the degradation declares that it acts alike on clips of different sizes."""
        return isinstance(self.operation, SizeIndependent) and self.operation.size_independent

    @property
    def moves_content(self) -> bool:
        """Whether the degradation declares that it moves the content of frames (`contracts.Moving`)."""
        return isinstance(self.operation, Moving) and self.operation.moves_content

    def routes(self, keys: DrawKeys) -> list[Route]:
        """One route for the whole batch."""
        return [Route(all_samples(keys), ((self.operation, keys),))]

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Draws strengths on the CPU and applies the degradation on the frames' device."""
        device = frames_BTCHW.device
        draws = {name: value.to(device, non_blocking=True) for name, value in self.operation.draw(keys).items()}
        if not isinstance(self.operation, Coding):
            return self.operation.apply(frames_BTCHW, draws)
        frames_BTCHW, coded_kbps_B = self.operation.apply_coded(frames_BTCHW, draws)
        np.copyto(kbps_B, coded_kbps_B, where=~np.isnan(coded_kbps_B))
        return frames_BTCHW


@dataclass(frozen=True)
class RandomApply:
    """Applies a node to each sample with probability `p`, between two fractions of the stage's steps.

    Attributes:
        node: the node; it must keep the shape of the frames.
        p: probability for each sample; None: every sample.
        first, until: the node applies from fraction `first` up to (not including) fraction `until`; `until` = 1 never
            ends.
    """

    node: Node
    p: Schedule | None
    first: float
    until: float

    @property
    def on_cpu(self) -> bool:
        """See `Node`."""
        return self.node.on_cpu

    @property
    def separable(self) -> bool:
        """See `Node`."""
        return self.node.separable

    @property
    def size_independent(self) -> bool:
        """See `Node`."""
        return self.node.size_independent

    @property
    def moves_content(self) -> bool:
        """See `Node`."""
        return self.node.moves_content

    def routes(self, keys: DrawKeys) -> list[Route]:
        """A route without operations for the samples that are skipped, then the node's routes for the others."""
        mask_B = self.mask(keys)
        parts = [(Route(np.flatnonzero(~mask_B)), Sequential(())), (Route(np.flatnonzero(mask_B)), self.node)]
        return [route for part, node in parts if len(part.samples_K) for route in part.extended(node, keys)]

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Frames of the same shape; those of skipped samples are unchanged."""
        samples_K = np.flatnonzero(self.mask(keys))
        if len(samples_K) == 0:
            return frames_BTCHW
        if len(samples_K) == len(frames_BTCHW):
            return self.node(frames_BTCHW, keys, kbps_B)
        changed = _apply_to_subset(self.node, frames_BTCHW, keys, kbps_B, samples_K)
        index_K = torch.from_numpy(samples_K).to(frames_BTCHW.device)
        return frames_BTCHW.index_copy(0, index_K, changed.to(frames_BTCHW.dtype))

    def mask(self, keys: DrawKeys) -> np.ndarray:
        """Whether the node applies to each sample, bool [B]."""
        if keys.progress < self.first or (keys.progress >= self.until and self.until < 1):
            return np.zeros(len(keys.samples_B), dtype=bool)
        if self.p is None:
            return np.ones(len(keys.samples_B), dtype=bool)
        return keys.nested(_APPLY_STREAM).uniform()[:, 0] < schedule_value(self.p, keys.progress)


@dataclass(frozen=True)
class _Group:
    members: Sequence[Node]

    @property
    def on_cpu(self) -> bool:
        """Whether all members run on the CPU."""
        return all(member.on_cpu for member in self.members)

    @property
    def separable(self) -> bool:
        """Whether all members are separable."""
        return all(member.separable for member in self.members)

    @property
    def size_independent(self) -> bool:
        """Whether all members act alike on clips of different sizes."""
        return all(member.size_independent for member in self.members)

    @property
    def moves_content(self) -> bool:
        """Whether any member moves the content of frames."""
        return any(member.moves_content for member in self.members)


@dataclass(frozen=True)
class Sequential(_Group):
    """Applies all members in order."""

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames."""
        return apply_in_sequence(self._parts(keys), frames_BTCHW, kbps_B)

    def routes(self, keys: DrawKeys) -> list[Route]:
        """The routes through the first member, each extended by the second one, and so on."""
        return routes_through(self._parts(keys), all_samples(keys))

    def _parts(self, keys: DrawKeys) -> list[tuple[Node, DrawKeys]]:
        return [(member, keys.nested(number)) for number, member in enumerate(self.members)]


@dataclass(frozen=True)
class OneOf(_Group):
    """Applies one member to each sample, drawn by weight.

    Attributes:
        weights: one weight for each member, not necessarily summing to 1.
    """

    weights: Sequence[Schedule]

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames."""
        return _apply_by_choice(self.members, frames_BTCHW, keys, kbps_B, self.choice(keys))

    def routes(self, keys: DrawKeys) -> list[Route]:
        """The routes through each member, of the samples that drew it."""
        return split_by_choice([Route(all_samples(keys))], self.members, keys, self.choice(keys))

    def choice(self, keys: DrawKeys) -> np.ndarray:
        """Index of the member that each sample drew, int64 [B]."""
        edges = np.cumsum([schedule_value(weight, keys.progress) for weight in self.weights], dtype=np.float64)
        return np.searchsorted((edges / edges[-1])[:-1], keys.nested(_CHOICE_STREAM).uniform()[:, 0], side="right")


@dataclass(frozen=True)
class RandomOrder(_Group):
    """Applies all members to each sample, in an order drawn for the sample.

    For each place of the order, the samples that have the same member at this place are processed together.
    """

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames."""
        for choice_B in self.order(keys).T:
            frames_BTCHW = _apply_by_choice(self.members, frames_BTCHW, keys, kbps_B, choice_B)
        return frames_BTCHW

    def order(self, keys: DrawKeys) -> np.ndarray:
        """Index of the member at each of the M places of each sample's order, int64 [B, M]."""
        return np.argsort(keys.nested(_CHOICE_STREAM).uniform(len(self.members)), axis=1, kind="stable")

    def routes(self, keys: DrawKeys) -> list[Route]:
        """One route for each order that occurs in the batch; more where members branch."""
        routes = [Route(all_samples(keys))]
        for choice_B in self.order(keys).T:
            routes = split_by_choice(routes, self.members, keys, choice_B)
        return routes


def apply_in_sequence(parts: Sequence[tuple[Node, DrawKeys]], frames_BTCHW: Tensor, kbps_B: np.ndarray) -> Tensor:
    """Applies nodes in sequence, each with its keys; neighbouring separable nodes are fused into one operator."""
    for separable, run in itertools.groupby(parts, key=lambda part: part[0].separable):
        neighbours = list(run)
        if separable and len(neighbours) > 1:
            frames_BTCHW = apply_fused(neighbours, frames_BTCHW)
        else:
            for node, keys in neighbours:
                frames_BTCHW = node(frames_BTCHW, keys, kbps_B)
    return frames_BTCHW


def _apply_by_choice(
    members: Sequence[Node], frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray, choice_B: np.ndarray
) -> Tensor:
    """Passes each sample through member `choice_B`; members that no sample chose are not called."""
    used = np.unique(choice_B).tolist()
    if len(used) <= 1:
        return members[used[0]](frames_BTCHW, keys.nested(used[0]), kbps_B) if used else frames_BTCHW
    groups = [np.flatnonzero(choice_B == number) for number in used]
    parts = [
        _apply_to_subset(members[number], frames_BTCHW, keys.nested(number), kbps_B, samples_K)
        for number, samples_K in zip(used, groups, strict=True)
    ]
    back_B = torch.from_numpy(np.argsort(np.concatenate(groups))).to(frames_BTCHW.device)
    return torch.cat(parts).index_select(0, back_B)


def _apply_to_subset(
    node: Node, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray, samples_K: np.ndarray
) -> Tensor:
    """Degraded frames of K samples of the batch, [K, ...]; their entries of `kbps_B` are updated in place."""
    kbps_K = kbps_B[samples_K]
    index_K = torch.from_numpy(samples_K).to(frames_BTCHW.device)
    changed = node(frames_BTCHW.index_select(0, index_K), keys.take(samples_K), kbps_K)
    kbps_B[samples_K] = kbps_K
    return changed
