"""The types that plugins and the platform exchange: declarations, samples, batches, predictions, and five protocols.

Suffixes of names give the shape of an array or tensor: B clips of a batch, T frames of a clip, C channels, H rows,
W columns, D embedding, K classes, N samples. For example, `frames_BTCHW` has the shape [B, T, C, H, W]. A still image
is a clip with T = 1. Frames on the device are float32 in [0, 1]; a degradation may slightly exceed this range.
"""

from __future__ import annotations

from blear.contracts.component import BuildContext, ClipSpec, Component, Params, Target
from blear.contracts.dataset import Dataset, Described, Framed, GreyRange, Label, Sample
from blear.contracts.degradation import (
    DATASET_STREAMS,
    Coding,
    Degradation,
    DrawKeys,
    Draws,
    Moving,
    OnCpu,
    Resizing,
    Separable,
    SizeIndependent,
)
from blear.contracts.devices import default_device, thread_count
from blear.contracts.in_place import InPlace, ShardMembers, ShardSample
from blear.contracts.locator import Detection, Locator, TimedLocator
from blear.contracts.model import (
    Backbone,
    Batch,
    Categories,
    Decoded,
    Features,
    Head,
    Images,
    Metric,
    Values,
    not_compiled,
)

__all__ = [
    "DATASET_STREAMS",
    "Backbone",
    "Batch",
    "BuildContext",
    "Categories",
    "ClipSpec",
    "Coding",
    "Component",
    "Dataset",
    "Decoded",
    "Degradation",
    "Described",
    "Detection",
    "DrawKeys",
    "Draws",
    "Features",
    "Framed",
    "GreyRange",
    "Head",
    "Images",
    "InPlace",
    "Label",
    "Locator",
    "Metric",
    "Moving",
    "OnCpu",
    "Params",
    "Resizing",
    "Sample",
    "Separable",
    "ShardMembers",
    "ShardSample",
    "SizeIndependent",
    "Target",
    "TimedLocator",
    "Values",
    "default_device",
    "not_compiled",
    "thread_count",
]
