"""Resources of one trial on the cluster, and the number of trials that run at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ray

from blear.job.schema import Cluster, Search
from blear.train.on_ray.runner import use_gpu


@dataclass(frozen=True)
class TrialResources:
    """Resources of one trial; a baseline takes the same.

    Attributes:
        bundle: resource -> amount that the trial's own process reserves. Where Ray Train's workers train, the process
            itself reserves nearly nothing.
        gpus: GPUs that the trial keeps busy, those of its workers together.
        concurrent: trials that run at once; None: as many as fit on the cluster.
    """

    bundle: Mapping[str, float]
    gpus: float
    concurrent: int | None

    @staticmethod
    def of(search: Search, cluster: Cluster) -> TrialResources:
        """The resources of a job's trials on the connected cluster."""
        if cluster.worker_range == (1, 1):
            bundle = {"CPU": search.cpus} | ({"GPU": search.gpus} if search.gpus else {})
            return TrialResources(bundle, search.gpus, search.concurrent)
        _, workers = cluster.worker_range
        needed = {"CPU": workers * cluster.cpus_per_worker} | ({"GPU": float(workers)} if use_gpu(cluster) else {})
        available = ray.cluster_resources()
        fit = min(int(available.get(name, 0) // amount) for name, amount in needed.items())
        # with more trials at once each might hold a part of the workers, and none would ever have all of them
        return TrialResources({"memory": 1}, needed.get("GPU", 0.0), search.concurrent or max(fit, 1))
