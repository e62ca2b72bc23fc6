"""Tells the user what a stage on a Ray cluster waits for, until its workers are scheduled."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from blear.job.schema import Cluster
from blear.progress import echo
from blear.train.on_ray import internals
from blear.train.on_ray.cluster_status import (
    AutoscalerLimits,
    ClusterStatus,
    autoscaler_config_file,
    count_bundles,
    placement_groups,
    read_autoscaler_limits,
)

_FIRST_POLL_S, _POLL_EVERY_S = 1.0, 3.0  # the previous stage needs a moment to release its resources


@dataclass
class Waiting:
    """What the workers of a stage wait for; `text` is the last sentence, empty while all of them train."""

    text: str = ""


@contextlib.contextmanager
def announce_waiting(cluster: Cluster, use_gpu: bool) -> Iterator[Waiting]:
    """While the block runs, prints what the workers wait for, once each time that it changes.

    The caller is the driver, connected to Ray.
    """
    bundle = {"CPU": float(cluster.cpus_per_worker)} | ({"GPU": 1.0} if use_gpu else {})
    limits, done = read_autoscaler_limits(autoscaler_config_file()), threading.Event()
    of_others, waiting = frozenset(placement_groups(bundle)), Waiting()

    def poll() -> None:
        from ray.exceptions import RayError

        pause, trained, waits = _FIRST_POLL_S, False, False
        while not done.wait(pause):
            pause = _POLL_EVERY_S
            try:
                status = internals.cluster_status()
                own = [number for key, number in placement_groups(bundle).items() if key not in of_others]
            except (RayError, OSError):
                continue  # a busy head; training goes on
            scheduled = max(own, default=0)
            text = describe_waiting(cluster.worker_range, bundle, scheduled, status, limits)
            trained, before = trained or scheduled > 0, waits
            waits = bool(text) and not scheduled
            if trained and waits and not before:  # after the last step the workers leave before the stage ends
                continue
            if text and text != waiting.text:
                echo(text)
            waiting.text = text

    thread = threading.Thread(target=poll, name="announce-waiting", daemon=True)
    thread.start()
    try:
        yield waiting
    finally:
        done.set()
        thread.join(5 * _POLL_EVERY_S)


def describe_waiting(
    workers: int | tuple[int, int],
    bundle: Mapping[str, float],
    scheduled: int,
    status: ClusterStatus | None,
    limits: AutoscalerLimits | None,
) -> str:
    """One sentence: the missing workers, the free resources, the nodes that may come; empty if no worker is missing.

    Args:
        workers: the job's `cluster.workers`; (min, max) is elastic.
        bundle: resources of one worker.
        scheduled: workers of this stage that have their resources.
        status: nodes of the cluster; None: unknown.
        limits: nodes that the autoscaler may add; None: unknown.
    """
    low, high = (workers, workers) if isinstance(workers, int) else workers
    size = f"of {_format_resources(bundle)}"
    wanted = _count(low, "worker") if low == high else f"{low} to {high} workers"
    if status is None:
        return "" if scheduled >= low else f"waiting for {wanted} {size}; `ray status` shows the nodes"
    fitting = sum(count_bundles(free, bundle) for free in status.free)
    if scheduled >= high or (not scheduled and fitting >= high):
        return ""
    addable = _describe_addable(bundle, status, limits)
    if max(scheduled, fitting) >= low:
        training = scheduled or min(fitting, high)
        return f"training with {_count(training, 'worker')} {size}, up to {high} when there is room: {addable}"
    return f"waiting for {wanted} {size}: the cluster has room for {fitting} now; {addable}"


def _describe_addable(bundle: Mapping[str, float], status: ClusterStatus, limits: AutoscalerLimits | None) -> str:
    """Nodes that are starting, that failed to start, and that the autoscaler may still add."""
    parts = []
    if status.starting:
        parts.append("starting " + ", ".join(f"{number} x {name}" for name, number in sorted(status.starting.items())))
    parts += [f"no {name} could be started ({reason})" for name, reason in sorted(status.failed.items())]
    if limits is None:
        if status.autoscaler:
            parts.append("what the autoscaler may add is set in the cluster's own definition")
        else:
            no_gpu = bool(bundle.get("GPU")) and not status.gpus
            do = "set cluster.gpu=false, because no node has a GPU" if no_gpu else "lower cluster.workers"
            parts.append(f"no autoscaler runs: add nodes to the cluster, or {do}")
        return "; ".join(parts)
    fitting = [kind for kind in limits.types if not kind.resources or count_bundles(kind.resources, bundle)]
    if not fitting:
        missing = [name for name in bundle if not any(kind.resources.get(name) for kind in limits.types)]
        what = "a GPU" if missing == ["GPU"] else f"{_format_resources(bundle)} on one node"
        do = ": set cluster.gpu=false" if missing == ["GPU"] else ""
        return "; ".join([*parts, f"no node type of the autoscaler has {what}{do}"])
    here = Counter(status.nodes) + Counter(status.starting)
    total = limits.workers - sum(here.values())
    more = [(min(kind.limit - here[kind.name], total), kind) for kind in fitting]
    addable = [f"{number} x {kind.name} ({_format_resources(kind.resources)})" for number, kind in more if number > 0]
    if addable:
        parts.append("the autoscaler may add up to " + " or ".join(addable))
    elif not status.starting:
        parts.append("the autoscaler is at its limit")
    return "; ".join(parts)


def _format_resources(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items() if amount) or "unknown resources"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
