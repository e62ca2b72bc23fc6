"""The job file as pydantic models, one module for each section."""

from __future__ import annotations

from blear.job.schema.cluster import Cluster
from blear.job.schema.data import Data, DatasetUse, DrawEntry, FallbackData
from blear.job.schema.evaluate import CLEAN, Arm, Equivalent, Evaluate, Pool, Sweep, Windows
from blear.job.schema.job import Job
from blear.job.schema.optimizer import Optimizer
from blear.job.schema.search import Dimension, Objective, Search
from blear.job.schema.stages import (
    MOST_STARS,
    SHUFFLE_WINDOW,
    BackboneUse,
    Frames,
    HeadUse,
    Mix,
    Stage,
    StartFrom,
    Teacher,
    Validate,
    WeightedHeadUse,
)

__all__ = [
    "Arm",
    "BackboneUse",
    "CLEAN",
    "Cluster",
    "Data",
    "DatasetUse",
    "Dimension",
    "DrawEntry",
    "Equivalent",
    "Evaluate",
    "Frames",
    "HeadUse",
    "Job",
    "MOST_STARS",
    "Mix",
    "Objective",
    "Optimizer",
    "Pool",
    "SHUFFLE_WINDOW",
    "Search",
    "Stage",
    "FallbackData",
    "StartFrom",
    "Sweep",
    "Teacher",
    "Validate",
    "WeightedHeadUse",
    "Windows",
]
