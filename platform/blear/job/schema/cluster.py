"""The `cluster` section of a job."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from blear.plugin.uses import Positive, StrictModel


class Cluster(StrictModel):
    """What the job runs on."""

    workers: Positive | tuple[Positive, Positive] = Field(1, description="workers of a stage; [min, max] is elastic")
    cpus_per_worker: float = Field(1, gt=0, description="logical CPUs that each worker reserves")
    gpu: Literal["auto"] | bool = Field("auto", description="a GPU for each worker; auto: where there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU")
    channels_last: bool = Field(
        True, description="weights of convolutions in channels-last order; faster or alike where it was measured"
    )
    compile: bool = Field(False, description="torch.compile of the model")
    stall_s: float = Field(600, gt=0, description="seconds without data or the other workers before a run stops")
    failures: int = Field(
        3, ge=-1, description="how often a stage is restarted after a lost worker, pre-emptions not counted; -1: always"
    )
    cache_gb: float | None = Field(
        None, ge=0, description="10^9 bytes of decoded shards kept on each machine; null: 80 % of what the disk has"
    )
    resize_s: float = Field(60, ge=0, description="elastic workers: seconds between two looks for nodes that joined")
