"""Nodes of a Ray cluster: free resources, and nodes that the autoscaler may add."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError


@dataclass(frozen=True)
class NodeType:
    """A node type of the cluster launcher file.

    Attributes:
        name: its name in the file.
        limit: the largest number of nodes of this type.
        resources: resource -> amount of one node; empty where the file does not state it.
    """

    name: str
    limit: int
    resources: Mapping[str, float]


@dataclass(frozen=True)
class AutoscalerLimits:
    """The nodes that the autoscaler may add.

    Attributes:
        workers: the largest number of worker nodes of all types together.
        types: the node types, without those whose limit is 0.
    """

    workers: int
    types: tuple[NodeType, ...]


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster at one moment.

    Attributes:
        free: free resources of each node, resource -> amount.
        nodes: node type -> number of running nodes, the head left out.
        starting: node type -> number of requested nodes that are not running yet.
        failed: node type -> reason of its last failed launch.
        autoscaler: whether an autoscaler runs.
        gpus: number of GPUs of the running nodes, used ones included.
    """

    free: tuple[Mapping[str, float], ...] = ()
    nodes: Mapping[str, int] = field(default_factory=dict)
    starting: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    autoscaler: bool = False
    gpus: float = 0.0


def read_autoscaler_limits(file: Path) -> AutoscalerLimits | None:
    """Reads the limits from a cluster launcher file; None if the file is missing or has another form."""
    try:
        config = YAML(typ="safe", pure=True).load(file.read_text())
        head, total = config["head_node_type"], int(config["max_workers"])
        types = [
            NodeType(
                name,
                int(kind.get("max_workers", 0 if name == head else total)),
                {key: float(amount) for key, amount in kind["resources"].items()},
            )
            for name, kind in config["available_node_types"].items()
        ]
    except (OSError, YAMLError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return AutoscalerLimits(total, tuple(kind for kind in types if kind.limit > 0))


def autoscaler_config_file() -> Path:
    """The launcher file on the head node: $BLEAR_AUTOSCALING_CONFIG, or the one that `ray up` writes to its home."""
    return Path(os.environ.get("BLEAR_AUTOSCALING_CONFIG", "~/ray_bootstrap_config.yaml")).expanduser()


def placement_groups(bundle: Mapping[str, float]) -> dict[str, int]:
    """Placement groups that are scheduled and consist of such bundles: id -> number of bundles.

    Ray Train reserves one placement group for the workers of a stage, with one bundle for each worker.
    """
    import ray.util

    table: dict[str, dict[str, Any]] = ray.util.placement_group_table()
    return {
        key: len(group["bundles"])
        for key, group in table.items()
        if group["state"] == "CREATED"
        and all(part.get(name) == amount for part in group["bundles"].values() for name, amount in bundle.items())
    }


def count_bundles(resources: Mapping[str, float], bundle: Mapping[str, float]) -> int:
    """Returns the number of bundles that fit into the resources of one node."""
    return min(math.floor(resources.get(name, 0.0) / amount + 1e-9) for name, amount in bundle.items())
