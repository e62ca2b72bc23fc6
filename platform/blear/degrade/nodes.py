"""What a chain is made of: one operation, or nodes in order, one of several, in any order, for some samples only.

A node is called with the frames of some samples, their keys, whose stream is the node's own, and the kbit/s of each
clip so far, which a codec in it overwrites. Each part of a node draws from a stream of its own: member i from
`keys.nested(i)`, the node's own choices from streams below zero. Only the samples that an operation applies to go
through it, so that a draw never depends on the rest of the batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from blear.contracts import Coding, Degradation, DrawKeys, OnCpu, Separable
from blear.plugin.uses import Schedule, schedule_value
from blear.separable import apply_operators

_COIN, _CHOICE = -1, -2


@dataclass(frozen=True)
class Route:
    """Samples, by their places in the batch, that go through the same operations, each with its own keys."""

    which_K: np.ndarray
    steps: tuple[tuple[Degradation, DrawKeys], ...] = ()

    def then(self, later: Node, keys: DrawKeys) -> list[Route]:
        """What becomes of them where a node follows, whose keys for the whole batch are given."""
        return [
            Route(
                self.which_K[route.which_K],
                (*((step, own.take(route.which_K)) for step, own in self.steps), *route.steps),
            )
            for route in later.routes(keys.take(self.which_K))
        ]


class Node(Protocol):
    """A part of a chain.

    Attributes:
        on_cpu: whether all of it works on the CPU wherever the frames lie.
        separable: whether all of it is linear and acts on rows and columns apart.
    """

    @property
    def on_cpu(self) -> bool: ...

    @property
    def separable(self) -> bool: ...

    def routes(self, keys: DrawKeys) -> list[Route]:
        """Which operations each sample goes through; samples of one route together, each sample in one route."""
        ...

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

    @property
    def separable(self) -> bool:
        """What it can."""
        return isinstance(self.operation, Separable)

    def routes(self, keys: DrawKeys) -> list[Route]:
        """One."""
        return [Route(_all(keys), ((self.operation, keys),))]

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
    p: Schedule | None
    first: float
    until: float

    @property
    def on_cpu(self) -> bool:
        """Whether its node is."""
        return self.node.on_cpu

    @property
    def separable(self) -> bool:
        """Whether its node is."""
        return self.node.separable

    def routes(self, keys: DrawKeys) -> list[Route]:
        """Those of its node, and one through nothing."""
        chosen = self.chosen(keys)
        parts = [(Route(np.flatnonzero(~chosen)), InOrder(())), (Route(np.flatnonzero(chosen)), self.node)]
        return [route for part, node in parts if len(part.which_K) for route in part.then(node, keys)]

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
        return keys.nested(_COIN).uniform()[:, 0] < schedule_value(self.p, keys.progress)


@dataclass(frozen=True)
class _Group:
    members: Sequence[Node]

    @property
    def on_cpu(self) -> bool:
        """Whether all members are."""
        return all(member.on_cpu for member in self.members)

    @property
    def separable(self) -> bool:
        """Whether all members are."""
        return all(member.separable for member in self.members)


@dataclass(frozen=True)
class InOrder(_Group):
    """Nodes one after another."""

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames."""
        return in_order(self._parts(keys), frames_BTCHW, kbps_B)

    def routes(self, keys: DrawKeys) -> list[Route]:
        """Through the first member's, then the second's, ..."""
        return routes_through(self._parts(keys), _all(keys))

    def _parts(self, keys: DrawKeys) -> list[tuple[Node, DrawKeys]]:
        return [(member, keys.nested(number)) for number, member in enumerate(self.members)]


@dataclass(frozen=True)
class Chosen(_Group):
    """One of several nodes for each sample."""

    weights: Sequence[Schedule]

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames."""
        return _shared_out(self.members, frames_BTCHW, keys, kbps_B, self.choice(keys))

    def routes(self, keys: DrawKeys) -> list[Route]:
        """Those of each member for the samples that chose it."""
        return _branch([Route(_all(keys))], self.members, keys, self.choice(keys))

    def choice(self, keys: DrawKeys) -> np.ndarray:
        """Which member each sample goes through, int64 [B]."""
        edges = np.cumsum([schedule_value(weight, keys.progress) for weight in self.weights], dtype=np.float64)
        return np.searchsorted((edges / edges[-1])[:-1], keys.nested(_CHOICE).uniform()[:, 0], side="right")


@dataclass(frozen=True)
class Shuffled(_Group):
    """All nodes for each sample, in an order of its own: at each place, the samples of one node go through it."""

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames."""
        for choice_B in self.order(keys).T:
            frames_BTCHW = _shared_out(self.members, frames_BTCHW, keys, kbps_B, choice_B)
        return frames_BTCHW

    def order(self, keys: DrawKeys) -> np.ndarray:
        """Number of the member at each place of each sample's order, int64 [B, M]."""
        return np.argsort(keys.nested(_CHOICE).uniform(len(self.members)), axis=1, kind="stable")

    def routes(self, keys: DrawKeys) -> list[Route]:
        """One for each order that is there, or more where members branch."""
        routes = [Route(_all(keys))]
        for choice_B in self.order(keys).T:
            routes = _branch(routes, self.members, keys, choice_B)
        return routes


def in_order(parts: Sequence[tuple[Node, DrawKeys]], frames_BTCHW: Tensor, kbps_B: np.ndarray) -> Tensor:
    """Nodes one after another, each with its keys; neighbours that are linear and separable act as one operator."""
    for separable, run in itertools.groupby(parts, key=lambda part: part[0].separable):
        neighbours = list(run)
        if separable and len(neighbours) > 1:
            frames_BTCHW = _as_one(neighbours, frames_BTCHW)
        else:
            for node, keys in neighbours:
                frames_BTCHW = node(frames_BTCHW, keys, kbps_B)
    return frames_BTCHW


def routes_through(parts: Sequence[tuple[Node, DrawKeys]], which_B: np.ndarray) -> list[Route]:
    """The routes of samples through nodes in turn."""
    routes = [Route(which_B)]
    for node, keys in parts:
        routes = [longer for route in routes for longer in route.then(node, keys)]
    return routes


def _as_one(parts: Sequence[tuple[Node, DrawKeys]], frames_BTCHW: Tensor) -> Tensor:
    """Samples of one route together: the matrices of its operations are multiplied, and meet the frames once."""
    routes = [route for route in routes_through(parts, _all(parts[0][1])) if len(route.which_K)]
    if not routes:
        return frames_BTCHW
    device = frames_BTCHW.device
    done = []
    for route in routes:
        index_K = torch.from_numpy(route.which_K).to(device)
        frames = frames_BTCHW if len(routes) == 1 else frames_BTCHW.index_select(0, index_K)
        done.append(_along(route, frames))
    if len(routes) == 1:
        return done[0]
    back_B = torch.from_numpy(np.argsort(np.concatenate([route.which_K for route in routes]))).to(device)
    return torch.cat(done).index_select(0, back_B)


def _along(route: Route, frames_KTCHW: Tensor) -> Tensor:
    drawn = [
        (step, {name: value.to(frames_KTCHW.device, non_blocking=True) for name, value in step.draw(keys).items()})
        for step, keys in route.steps
    ]
    if len(drawn) == 1:  # its own way may be shorter, as through a bank of few operators
        return drawn[0][0].apply(frames_KTCHW, drawn[0][1])
    rows: list[Tensor] = []
    columns: list[Tensor] = []
    height, width = frames_KTCHW.shape[-2:]
    for step, draws in drawn:
        if isinstance(step, Separable):
            down, across = step.operators(draws, height, width)
            rows, columns, height, width = [*rows, *down], [*columns, *across], down[-1].shape[1], across[-1].shape[1]
    return apply_operators(frames_KTCHW, (rows, columns)) if drawn else frames_KTCHW


def _branch(routes: Sequence[Route], members: Sequence[Node], keys: DrawKeys, choice_B: np.ndarray) -> list[Route]:
    """Each route split by the member that its samples chose, and led through it."""
    longer: list[Route] = []
    for route in routes:
        for number in np.unique(choice_B[route.which_K]).tolist():
            chosen = choice_B[route.which_K] == number
            steps = tuple((step, own.take(chosen)) for step, own in route.steps)
            longer += Route(route.which_K[chosen], steps).then(members[number], keys.nested(number))
    return longer


def _all(keys: DrawKeys) -> np.ndarray:
    return np.arange(len(keys.samples_B))


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
