"""What a trial reserves on the cluster, and how many run at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ray

from blear.job.schema import Cluster, Search
from blear.train.on_ray.runner import use_gpu


@dataclass(frozen=True)
class Room:
    """Of one trial, or of one baseline.

    Attributes:
        bundle: what its own process reserves; nothing where Ray Train's workers do the work.
        gpus: GPUs that it keeps busy, its workers' together.
        at_once: how many run at once; None: as many as there is room for.
    """

    bundle: Mapping[str, float]
    gpus: float
    at_once: int | None

    @staticmethod
    def of(search: Search, cluster: Cluster) -> Room:
        """On the connected cluster."""
        if cluster.workers == 1:
            bundle = {"CPU": search.cpus} | ({"GPU": search.gpus} if search.gpus else {})
            return Room(bundle, search.gpus, search.concurrent)
        most = cluster.workers if isinstance(cluster.workers, int) else cluster.workers[1]
        needs = {"CPU": most * cluster.cpus_per_worker} | ({"GPU": float(most)} if use_gpu(cluster) else {})
        has = ray.cluster_resources()
        fit = min(int(has.get(name, 0) // amount) for name, amount in needs.items())
        # more would take each other's places: none has all its workers then
        return Room({"memory": 1}, needs.get("GPU", 0.0), search.concurrent or max(fit, 1))
