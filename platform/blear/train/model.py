"""A backbone and a head as one module, built the same way in training, in evaluation and on every worker."""

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
    """Frames [B, T, C, H, W] -> outputs of the head."""

    head: Any  # a `blear.contracts.Head` that is also a module

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, frames_BTCHW: Tensor) -> Any:
        """The head's outputs, in the head's own form."""
        return self.head(self.backbone(frames_BTCHW))


def moments_of(stage: Stage, seed: int, clip: ClipSpec) -> FrameSampler | None:
    """Which frames of clips of this shape a stage trains on; None: all."""
    return None if stage.frames is None else FrameSampler(stage.frames.take, stage.frames.pick, seed, clip.length)


def build_recognizer(catalog: Catalog, stage: Stage, name: str, context: BuildContext) -> Recognizer:
    """Builds and initialises a stage's model; a pure function of the job, its seed and the stage's name."""
    if context.clip is None:
        raise ValueError("a recogniser is built for a known clip shape")
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
