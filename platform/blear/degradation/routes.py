"""Routes of a batch: the sequence of operations that each sample passes through, and the samples that share one.

A chain of nodes may branch (`p`, `one_of`, `any_order`). Its routes are needed where neighbouring separable operations
are fused: the samples of one route share one product of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from blear.contracts import Degradation, DrawKeys, Separable
from blear.separable import apply_operators


@dataclass(frozen=True)
class Route:
    """Samples that pass through the same operations.

    Attributes:
        samples_K: indices of the K samples in the batch.
        operations: the operations in order, each with the random keys of these K samples.
    """

    samples_K: np.ndarray
    operations: tuple[tuple[Degradation, DrawKeys], ...] = ()

    def extended(self, node: Node, keys: DrawKeys) -> list[Route]:
        """The routes of these samples after one more node.

        Args:
            node: the node that follows.
            keys: the node's keys, of the whole batch.
        """
        return [
            Route(
                self.samples_K[route.samples_K],
                (
                    *((operation, own.take(route.samples_K)) for operation, own in self.operations),
                    *route.operations,
                ),
            )
            for route in node.routes(keys.take(self.samples_K))
        ]

    def apply_fused(self, frames_KTCHW: Tensor) -> Tensor:
        """Frames of these samples after all operations of the route, which must be separable.

        The matrices of the operations are multiplied first, so that the frames are filtered once.
        """
        drawn = [
            (
                operation,
                {
                    name: value.to(frames_KTCHW.device, non_blocking=True)
                    for name, value in operation.draw(keys).items()
                },
            )
            for operation, keys in self.operations
        ]
        if len(drawn) == 1:  # `apply` of a single operation may be faster, for instance with a bank of few operators
            return drawn[0][0].apply(frames_KTCHW, drawn[0][1])
        rows: list[Tensor] = []
        columns: list[Tensor] = []
        height, width = frames_KTCHW.shape[-2:]
        for operation, draws in drawn:
            if isinstance(operation, Separable):
                down, across = operation.operators(draws, height, width)
                rows, columns = [*rows, *down], [*columns, *across]
                height, width = down[-1].shape[1], across[-1].shape[1]
        return apply_operators(frames_KTCHW, (rows, columns)) if drawn else frames_KTCHW


class Node(Protocol):
    """A part of a chain: one operation, or a group of nodes.

    Attributes:
        on_cpu: whether every operation in the node runs on the CPU, wherever the frames are.
        separable: whether every operation in the node is linear and acts on rows and columns separately.
        size_independent: whether every operation in the node acts alike on clips of different sizes.
        moves_content: whether any operation in the node moves the content of frames.
    """

    @property
    def on_cpu(self) -> bool: ...

    @property
    def separable(self) -> bool: ...

    @property
    def size_independent(self) -> bool: ...

    @property
    def moves_content(self) -> bool: ...

    def routes(self, keys: DrawKeys) -> list[Route]:
        """The routes of a batch through this node. Each sample belongs to exactly one route."""
        ...

    def __call__(self, frames_BTCHW: Tensor, keys: DrawKeys, kbps_B: np.ndarray) -> Tensor:
        """Degraded frames.

        Args:
            frames_BTCHW: the frames of B samples.
            keys: random keys of these samples, of the node's own stream.
            kbps_B: bit rate of each clip in kbit/s so far, float64 [B]; a codec overwrites it in place.
        """
        ...


def all_samples(keys: DrawKeys) -> np.ndarray:
    """Indices of all samples of a batch, int64 [B]."""
    return np.arange(len(keys.samples_B))


def routes_through(parts: Sequence[tuple[Node, DrawKeys]], samples_B: np.ndarray) -> list[Route]:
    """The routes of a batch through several nodes in sequence, each given with its keys."""
    routes = [Route(samples_B)]
    for node, keys in parts:
        routes = [longer for route in routes for longer in route.extended(node, keys)]
    return routes


def split_by_choice(
    routes: Sequence[Route], members: Sequence[Node], keys: DrawKeys, choice_B: np.ndarray
) -> list[Route]:
    """Splits each route by the member that its samples chose, and extends each part by that member.

    Args:
        choice_B: index of the chosen member of each sample, int64 [B].
    """
    longer: list[Route] = []
    for route in routes:
        for number in np.unique(choice_B[route.samples_K]).tolist():
            mask = choice_B[route.samples_K] == number
            operations = tuple((operation, own.take(mask)) for operation, own in route.operations)
            longer += Route(route.samples_K[mask], operations).extended(members[number], keys.nested(number))
    return longer


def apply_fused(parts: Sequence[tuple[Node, DrawKeys]], frames_BTCHW: Tensor) -> Tensor:
    """Applies several separable nodes as one operator for each route.

    Args:
        parts: nodes in sequence, each with its keys of the whole batch.
    """
    routes = [route for route in routes_through(parts, all_samples(parts[0][1])) if len(route.samples_K)]
    if not routes:
        return frames_BTCHW
    device = frames_BTCHW.device
    done = []
    for route in routes:
        index_K = torch.from_numpy(route.samples_K).to(device)
        frames = frames_BTCHW if len(routes) == 1 else frames_BTCHW.index_select(0, index_K)
        done.append(route.apply_fused(frames))
    if len(routes) == 1:
        return done[0]
    back_B = torch.from_numpy(np.argsort(np.concatenate([route.samples_K for route in routes]))).to(device)
    return torch.cat(done).index_select(0, back_B)
