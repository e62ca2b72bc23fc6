"""The deeply supervised head: a side output on each stage, short connections, a fused output (spec section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from blear.contracts import Batch, BuildContext, Decoded, Features, Metric
from blear.errors import PluginError
from blear.metrics import CLASSIFICATION
from blear_dsn.clip_classification import class_target, clip_probabilities, frame_loss
from blear_dsn.network_input import channels
from blear_dsn.params import SideOutputsParams
from blear_dsn.side_layers import SIDES, Fusion, SideOutput
from blear_dsn.upsample import enlarged

_NAME = "dsn/side_outputs"
FUSED = "fused"
"""Name of the output that `decode` uses."""

Size = Sequence[int]
"""Height and width."""


class SideOutputs(nn.Module):
    """The backbone's `stage1` ... `stage6` and `input` -> logits [B, T, K] of each stage and of `fused`.

    Stages are computed from 6 down to 1. Short connections use the mixed maps of the stages 4 and 3. The loss is the
    unweighted sum over all outputs; `decode` uses `fused`. Parameter names: side1 ... side6 with conv_a, conv_b, mix,
    classify; fuse with mix, classify.

    Raises:
        PluginError: the data have no such class target, the backbone has no stages or no `input`, or the map of stage
            k is smaller than 1 / 2^(k - 1) of the input.
    """

    def __init__(self, params: SideOutputsParams, context: BuildContext) -> None:
        super().__init__()
        self._target = class_target(context, params.target, _NAME)
        shapes = {
            stage: context.features[f"stage{stage}"][-3:] for stage in SIDES if f"stage{stage}" in context.features
        }
        if not shapes or "input" not in context.features:
            given = ", ".join(context.features) or "none"
            what = f"needs the features input and some of stage1 to stage6; the backbone gives: {given}"
            raise PluginError(what, _NAME, "use the backbone dsn/vgg or dsn/resnet50")
        height, width = context.features["input"][-2:]
        classes, aligned = len(self._target.classes), params.crop == "aligned"
        reduce = None if params.reduce is None else channels((params.reduce,), params.width)[0]
        for stage, (inputs, *size) in shapes.items():
            spec = SIDES[stage]
            joins = tuple(deeper for deeper in spec.joins if deeper in shapes)
            _check_size(stage, 2 ** (stage - 1), size, [height, width])
            for deeper in joins:
                _check_size(deeper, 2 ** (deeper - stage), shapes[deeper][1:], size)
            spec = spec._replace(channels=channels((spec.channels,), params.width)[0], joins=joins)
            side = SideOutput(spec, stage, inputs, size, classes, aligned=aligned, init=params.init, reduce=reduce)
            self.add_module(f"side{stage}", side)
        self._stages = sorted(shapes, reverse=True)
        order = sorted(shapes)
        if params.fuse_order == "deepest_first":
            order = [order[-1], *order[:-1]]
        self.fuse = Fusion(order, height, width, classes, aligned=aligned, init=params.init)

    def forward(self, features: Features) -> dict[str, Tensor]:
        """Returns `stage6` ... `stage1` and `fused` -> logits [B, T, K]."""
        frames = features["input"].shape[:2]
        maps: dict[int, Tensor] = {}
        logits: dict[str, Tensor] = {}
        for stage in self._stages:
            name = f"stage{stage}"
            maps[stage], logits[name] = getattr(self, f"side{stage}")(features[name].flatten(0, 1), maps)
        logits[FUSED] = self.fuse(maps)
        return {name: value.unflatten(0, frames) for name, value in logits.items()}

    def loss(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Sum of the cross-entropies of all outputs, each averaged over frames and clips."""
        truth_B = batch.targets[self._target.name]
        losses = [frame_loss(logits_BTK, truth_B) for logits_BTK in outputs.values()]
        return sum(losses[1:], losses[0])

    def metrics(self) -> Sequence[Metric]:
        """Accuracy first, then balanced accuracy and macro F1."""
        return CLASSIFICATION

    def decode(self, outputs: dict[str, Tensor]) -> Mapping[str, Decoded]:
        """Probabilities of each clip: the mean of the fused probabilities of its frames."""
        return {self._target.name: clip_probabilities(self._target, outputs[FUSED])}


def _check_size(stage: int, factor: int, shape: Size, reference: Size) -> None:
    if any(enlarged(pixels, factor) < wanted for pixels, wanted in zip(shape, reference, strict=True)):
        what = f"stage{stage} of {shape[1]}x{shape[0]} enlarged {factor} times is below {reference[1]}x{reference[0]}"
        do = "the maps of stage k must have about 1 / 2^(k - 1) of the input's rows and columns"
        raise PluginError(what, _NAME, do)
