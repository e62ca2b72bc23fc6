"""Says what a stage waits for while its workers have no place yet, and what the autoscaler may add."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from blear.job.schema import Cluster
from blear.progress import echo

_FIRST_LOOK_S, _LOOK_EVERY_S = 1.0, 3.0  # the stage before needs a moment to give its places back


@dataclass(frozen=True)
class NodeType:
    """One kind of node that the autoscaler may add: `limit` of them at most, each with `resources` (empty: unknown)."""

    name: str
    limit: int
    resources: Mapping[str, float]


@dataclass(frozen=True)
class Limits:
    """What the autoscaler may add: at most `workers` nodes in all, of these types."""

    workers: int
    types: tuple[NodeType, ...]


@dataclass(frozen=True)
class Situation:
    """What the cluster looks like at one moment.

    Attributes:
        free: what is free on each node, resource -> amount.
        nodes: node type -> number of nodes there, the head left out.
        starting: node type -> number of nodes asked for and not there yet.
        failed: node type -> why its last launch failed.
        placed: workers of this stage that have their place.
        autoscaler: whether an autoscaler runs.
    """

    free: tuple[Mapping[str, float], ...] = ()
    nodes: Mapping[str, int] = field(default_factory=dict)
    starting: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    placed: int = 0
    autoscaler: bool = False


@contextlib.contextmanager
def announce_waiting(cluster: Cluster, use_gpu: bool) -> Iterator[None]:
    """While the block runs, says what its workers wait for; each sentence once, when it changes.

    Called on the driver, connected to Ray.
    """
    bundle = {"CPU": float(cluster.cpus_per_worker)} | ({"GPU": 1.0} if use_gpu else {})
    limits, done, earlier = read_limits(autoscaling_config()), threading.Event(), frozenset(_placed_groups(bundle))

    def watch() -> None:
        from ray.exceptions import RayError

        told, pause = "", _FIRST_LOOK_S
        while not done.wait(pause):
            pause = _LOOK_EVERY_S
            try:
                situation = look(bundle, earlier)
            except (RayError, OSError):
                continue  # a busy head: training goes on, the next look may succeed
            text = describe(cluster.workers, bundle, situation, limits)
            if text and text != told:
                echo(text)
            told = text

    thread = threading.Thread(target=watch, name="announce-waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(5 * _LOOK_EVERY_S)


def describe(workers: int | tuple[int, int], bundle: Mapping[str, float], now: Situation, limits: Limits | None) -> str:
    """One sentence: what is waited for, what there is, what the autoscaler may add; empty when nothing is waited for.

    Args:
        workers: the job's `cluster.workers`; (min, max) is elastic.
        bundle: resources of one worker.
        now: the cluster at this moment.
        limits: the autoscaler's; None: not known here.
    """
    low, high = (workers, workers) if isinstance(workers, int) else workers
    room = sum(_fits(free, bundle) for free in now.free)
    if now.placed >= high or (not now.placed and room >= high):
        return ""
    size = f"of {_amounts(bundle)}"
    may = _may_add(bundle, now, limits)
    if max(now.placed, room) >= low:
        trains = now.placed or min(room, high)
        return f"training with {_count(trains, 'worker')} {size}, up to {high} when there is room: {may}"
    asked = _count(low, "worker") if low == high else f"{low} to {high} workers"
    return f"waiting for {asked} {size}: the cluster has room for {room} now; {may}"


def _may_add(bundle: Mapping[str, float], now: Situation, limits: Limits | None) -> str:
    parts = []
    if now.starting:
        parts.append("starting " + ", ".join(f"{number} x {name}" for name, number in sorted(now.starting.items())))
    parts += [f"no {name} could be started ({reason})" for name, reason in sorted(now.failed.items())]
    if limits is None:
        if now.autoscaler:
            parts.append("what the autoscaler may add is set in the cluster's own definition")
        else:
            parts.append("no autoscaler runs: add nodes to the cluster, or lower cluster.workers")
        return "; ".join(parts)
    fitting = [kind for kind in limits.types if not kind.resources or _fits(kind.resources, bundle)]
    if not fitting:
        missing = [name for name in bundle if not any(kind.resources.get(name) for kind in limits.types)]
        what = "a GPU" if missing == ["GPU"] else f"{_amounts(bundle)} on one node"
        return "; ".join([*parts, f"nothing that the autoscaler may add has {what}"])
    here = now.nodes if not now.starting else Counter(now.nodes) + Counter(now.starting)
    total = limits.workers - sum(here.values())
    more = [(min(kind.limit - here.get(kind.name, 0), total), kind) for kind in fitting]
    can = [f"{number} x {kind.name} ({_amounts(kind.resources)})" for number, kind in more if number > 0]
    if can:
        parts.append("the autoscaler may add up to " + " or ".join(can))
    elif not now.starting:
        parts.append("the autoscaler is at its limit")
    return "; ".join(parts)


def read_limits(file: Path) -> Limits | None:
    """What a cluster launcher file lets the autoscaler add; None where there is no such file."""
    try:
        config = YAML(typ="safe", pure=True).load(file.read_text())
        head, total = config["head_node_type"], int(config["max_workers"])
        types = config["available_node_types"].items()
        found = [
            NodeType(
                name,
                int(kind.get("max_workers", 0 if name == head else total)),
                {key: float(amount) for key, amount in kind["resources"].items()},
            )
            for name, kind in types
        ]
    except (OSError, YAMLError, KeyError, TypeError, ValueError):
        return None
    return Limits(total, tuple(kind for kind in found if kind.limit > 0))


def look(bundle: Mapping[str, float], earlier: frozenset[str] = frozenset()) -> Situation:
    """The connected cluster as it is now; placement groups of `earlier` belong to others.

    Raises:
        ray.exceptions.RayError: the head did not answer.
    """
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    alive = [*status.active_nodes, *status.idle_nodes]
    workers = [node for node in alive if "node:__internal_head__" not in node.total_resources()]
    heads = {node.ray_node_type_name for node in alive if node not in workers}
    pending = [(node.ray_node_type_name, 1) for node in status.pending_nodes]
    pending += [(launch.ray_node_type_name, launch.count) for launch in status.pending_launches]
    starting: Counter[str] = Counter()
    for name, number in pending:
        starting[name] += number if name not in heads else 0
    return Situation(
        free=tuple(node.available_resources() for node in alive),
        nodes=Counter(node.ray_node_type_name for node in workers),
        starting=+starting,
        failed={launch.ray_node_type_name: str(launch.details) for launch in status.failed_launches},
        placed=max((n for key, n in _placed_groups(bundle).items() if key not in earlier), default=0),
        autoscaler=bool(int(status.stats.autoscaler_version or 0)),
    )


def _placed_groups(bundle: Mapping[str, float]) -> dict[str, int]:
    """Placement groups that have their place and consist of such bundles: id -> number of bundles."""
    import ray.util

    table: dict[str, dict[str, Any]] = ray.util.placement_group_table()
    return {
        key: len(group["bundles"])
        for key, group in table.items()
        if group["state"] == "CREATED"
        and all(part.get(name) == amount for part in group["bundles"].values() for name, amount in bundle.items())
    }


def autoscaling_config() -> Path:
    """The launcher file as the head has it; `ray up` writes it to the head's home."""
    return Path(os.environ.get("BLEAR_AUTOSCALING_CONFIG", "~/ray_bootstrap_config.yaml")).expanduser()


def _fits(free: Mapping[str, float], bundle: Mapping[str, float]) -> int:
    """How many such bundles fit."""
    return min(math.floor(free.get(name, 0.0) / amount + 1e-9) for name, amount in bundle.items())


def _amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items() if amount) or "unknown resources"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
