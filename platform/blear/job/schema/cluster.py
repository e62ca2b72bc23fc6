"""The `cluster` section of a job."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from blear.plugin.uses import Positive, StrictModel


class Cluster(StrictModel):
    """Resources of the job: workers, GPUs, precision, failures, cache."""

    workers: Positive | tuple[Positive, Positive] | Literal["auto"] = Field(
        1,
        description="workers of a stage; [min, max]: elastic, as many as the cluster has room for; auto: one for each "
        "GPU of this machine or of the cluster, else one",
    )
    cpus_per_worker: float = Field(1, gt=0, description="logical CPUs that each worker reserves")
    gpu: Literal["auto"] | bool = Field("auto", description="whether each worker uses a GPU; auto: if there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="precision of the model's arithmetic; auto: bfloat16 if every worker has a GPU with "
        "instructions for it, else float32; a continued run keeps its precision",
    )
    channels_last: bool = Field(
        True,
        description="store the weights of 2-D convolutions in channels-last order, which was never slower in "
        "measurements",
    )
    compile: bool = Field(False, description="compile the model with torch.compile")
    stall_s: float = Field(600, gt=0, description="seconds to wait for data or other workers before a run stops")
    wait_s: float = Field(
        3600, gt=0, description="seconds to wait for the nodes, CPUs and GPUs of a stage before the job ends"
    )
    failures: int = Field(
        3, ge=-1, description="restarts of a stage after a lost worker, without pre-emptions; -1: unlimited"
    )
    cache_gb: float | None = Field(
        None,
        ge=0,
        description="size limit of the cache of decoded shards on each machine, in 10^9 bytes; null: 80 % of the free "
        "disk space",
    )
    device_gb: float | None = Field(
        None,
        ge=0,
        description="size limit of the data that each worker keeps in the memory of its GPU, in 10^9 bytes; 0: none; "
        "null: half of the free memory, of which a trial with a fraction of a GPU takes that fraction",
    )
    resize_s: float = Field(60, ge=0, description="elastic workers: seconds between two checks for new nodes")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if isinstance(self.workers, tuple) and self.workers[0] > self.workers[1]:
            raise ValueError(f"workers {list(self.workers)} is no range; give the smaller number first")
        return self

    @property
    def worker_range(self) -> tuple[int, int]:
        """The smallest and the largest number of workers; (1, 1) for `auto`, which is resolved when a job starts."""
        if isinstance(self.workers, str):
            return 1, 1
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers

    @property
    def device_bytes(self) -> int | None:
        """`device_gb` in bytes."""
        return None if self.device_gb is None else int(self.device_gb * 1e9)
