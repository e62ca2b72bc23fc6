"""The model of a stage: a backbone and a head as one module."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from blear.contracts import BuildContext, ClipSpec, Metric
from blear.data.frame_sampling import FrameSampler
from blear.job.schema import Stage
from blear.plugin.catalog import Catalog
from blear.plugin.decoded_targets import target_metrics
from blear.train.head_group import HeadGroup


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


def evaluated_targets(model: Recognizer, context: BuildContext) -> dict[str, tuple[Metric, ...]]:
    """The targets of a model that the data have -> their metrics, found by the prediction for one blank clip.

    Args:
        model: keeps its weights, batch statistics and mode.
        context: shape of the clips that reach the model, and the targets of its data.
    """
    parameter, training = next(model.parameters(), None), model.training
    device = None if parameter is None else parameter.device
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        decoded = model.head.decode(model.eval()(blank_clip(context, device)))
    model.train(training)
    metrics = target_metrics(model.head, decoded, context.targets)
    return {target: of_target for target, of_target in metrics.items() if target in context.targets}


def blank_clip(context: BuildContext, device: torch.device | None = None) -> Tensor:
    """A black clip [1, T, C, H, W] of the context's shape.

    Raises:
        ValueError: the context has no clip shape.
    """
    clip = context.clip
    if clip is None:
        raise ValueError("a recognizer needs a clip shape")
    return torch.zeros(1, clip.length, clip.channels, clip.height, clip.width, device=device)


def stage_frame_sampler(stage: Stage, seed: int, clip: ClipSpec) -> FrameSampler | None:
    """The frame sampler of a stage for clips of this shape; None: the stage uses all frames."""
    return None if stage.frames is None else FrameSampler(stage.frames.take, stage.frames.pick, seed, clip.length)


def build_for_loading(catalog: Catalog, stage: Stage, name: str, context: BuildContext) -> Recognizer:
    """Builds the model of a stage, into which trained weights are loaded; pretrained ones are not downloaded."""
    return build_recognizer(catalog, stage, name, replace(context, pretrained=False))


def build_recognizer(catalog: Catalog, stage: Stage, name: str, context: BuildContext) -> Recognizer:
    """Builds and initialises the model of a stage. The weights depend on the job, its seed and the stage's name only.

    Raises:
        ValueError: the context has no clip shape.
    """
    blank = blank_clip(context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((context.seed << 32) ^ zlib.crc32(name.encode()))
        backbone = catalog.get("backbone", stage.backbone.use).build(stage.backbone.params, context)
        backbone.eval()
        with torch.no_grad():
            features = backbone(blank)
        backbone.train()
        shapes = {feature: tuple(value.shape[1:]) for feature, value in features.items()}
        head_context = replace(context, features=shapes)
        heads = {
            key: catalog.get("head", use.use).build(use.params, head_context) for key, use in stage.all_heads.items()
        }
        if stage.head is not None:
            return Recognizer(backbone, *heads.values())
        weights = {key: use.weight for key, use in stage.heads.items()}
        return Recognizer(backbone, HeadGroup(heads, weights, features, context.targets, f"stages.{name}.heads"))
