"""The model of a stage: a backbone and a head as one module."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from blear.contracts import BuildContext, ClipSpec
from blear.data.frame_sampling import FrameSampler
from blear.job.schema import Stage
from blear.plugin.catalog import Catalog


class Recognizer(nn.Module):
    """Backbone and head. Input: frames [B, T, C, H, W]; output: the head's outputs."""

    head: Any  # a `blear.contracts.Head` that is also a module

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, frames_BTCHW: Tensor) -> Any:
        """Returns the head's outputs, of a type that the head defines."""
        return self.head(self.backbone(frames_BTCHW))


def stage_frame_sampler(stage: Stage, seed: int, clip: ClipSpec) -> FrameSampler | None:
    """The frame sampler of a stage for clips of this shape; None: the stage uses all frames."""
    return None if stage.frames is None else FrameSampler(stage.frames.take, stage.frames.pick, seed, clip.length)


def build_recognizer(catalog: Catalog, stage: Stage, name: str, context: BuildContext) -> Recognizer:
    """Builds and initialises the model of a stage. The weights depend on the job, its seed and the stage's name only.

    Raises:
        ValueError: the context has no clip shape.
    """
    if context.clip is None:
        raise ValueError("a recognizer needs a clip shape")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((context.seed << 32) ^ zlib.crc32(name.encode()))
        backbone = catalog.get("backbone", stage.backbone.use).build(stage.backbone.params, context)
        clip = context.clip
        backbone.eval()
        with torch.no_grad():
            features = backbone(torch.zeros(1, clip.length, clip.channels, clip.height, clip.width))
        backbone.train()
        shapes = {feature: tuple(value.shape[1:]) for feature, value in features.items()}
        head = catalog.get("head", stage.head.use).build(stage.head.params, replace(context, features=shapes))
    return Recognizer(backbone, head)
