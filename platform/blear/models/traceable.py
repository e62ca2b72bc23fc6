"""A model as a module of tensors only, without Python objects in its inputs and outputs, for tracing and export."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from blear.contracts import Degradation, DrawKeys
from blear.degradation.nodes import Operation
from blear.errors import RunError
from blear.models.model import Model


class TraceableModel(nn.Module):
    """Frames -> one tensor for each target, equal to those of the model.

    Input: float32 in [0, 1], [N, C, H, W], or [N, T, C, H, W] for a model of clips; in the shape of `model.card.clip`,
    except that networks which accept any number of frames take any T. Preprocessing and temperatures are part of the
    module.

    Attributes:
        outputs: names of the targets, in the order of the outputs.
        still: whether the input has no axis of time.

    Raises:
        RunError: the preprocessing of the model draws random numbers.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.still = model.card.clip.length == 1
        self._operations = [self._freeze(node, model.card.name) for node in model.transform.nodes]
        with torch.no_grad():
            self.outputs = tuple(model(self.example(1)))

    def example(self, batch: int, frames: int | None = None) -> Tensor:
        """A black input.

        Args:
            frames: length of the clips; None: that of the model's card.
        """
        clip = self.model.card.clip
        shape = (clip.channels, clip.height, clip.width)
        return torch.zeros(batch, *(shape if self.still else (frames or clip.length, *shape)))

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        x = frames[:, None] if self.still else frames
        for operation, draws in self._operations:
            x = operation.apply(x, {name: one.expand(x.shape[0], *one.shape[1:]) for name, one in draws.items()})
        decoded = self.model.network.head.decode(self.model.network(x))
        return tuple(self.model.result(name, decoded[name]) for name in self.outputs or decoded)

    outputs: tuple[str, ...] = ()

    @staticmethod
    def _freeze(node: object, name: str) -> tuple[Degradation, dict[str, Tensor]]:
        """The operation of a node, and its draws [1, ...] that are the same for every sample."""
        if not isinstance(node, Operation):
            raise RunError("its preprocessing is no list of operations", name, "leave groups out of `augment`")
        draws = node.operation.draw(DrawKeys(0, 0, np.zeros(2, np.int64), np.arange(2)))
        if any(not torch.equal(one[0], one[1]) for one in draws.values()):
            what = f"{type(node.operation).__name__} draws random numbers in evaluation"
            raise RunError(what, name, "return a deterministic operation from `for_evaluation`")
        return node.operation, {key: one[:1] for key, one in draws.items()}
