"""Traces a model with `torch.export`: open batch, and open time where the network accepts any number of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from blear.errors import RunError, first_line
from blear.export.metadata import file_metadata
from blear.models.model import Model
from blear.models.quiet import quiet
from blear.models.traceable import TraceableModel


@dataclass(frozen=True)
class Traced:
    """A traced model.

    Attributes:
        program: a `torch.export.ExportedProgram` of one input and one output for each target.
        module: what was traced.
        open_time: whether clips may have any number of frames.
        input: name of the input, `images` or `clips`.
    """

    program: Any
    module: TraceableModel
    open_time: bool

    @property
    def input(self) -> str:
        """Name of the input in files."""
        return "images" if self.module.still else "clips"

    @property
    def axes(self) -> str:
        """Which axes of the input are open, for the report."""
        if self.module.still:
            return "any batch"
        frames = "any number of" if self.open_time else str(self.module.model.card.clip.length)
        return f"any batch, {frames} frames"

    @property
    def metadata(self) -> dict[str, str]:
        """See `file_metadata`."""
        return file_metadata(self.module.model.card, self.module.outputs)


@torch.no_grad()
def trace_model(model: Model) -> Traced:
    """Traces a model on the CPU.

    Raises:
        RunError: the network cannot be traced.
    """
    module = TraceableModel(model).eval()
    if not module.still and _accepts_any_length(module):
        try:
            return Traced(_trace(module, open_time=True), module, True)
        except Exception:  # noqa: BLE001  the tracer raises many types; the length is then fixed
            pass
    try:
        return Traced(_trace(module, open_time=False), module, False)
    except Exception as error:
        what = f"the network cannot be traced: {first_line(error)}"
        do = "write its forward pass with operations of torch on the inputs only, or export --to safetensors"
        raise RunError(what, model.card.name, do) from error


def _accepts_any_length(module: TraceableModel) -> bool:
    clip = module.model.card.clip
    try:
        for frames in (clip.length + 1, 2 * clip.length):
            module(module.example(2, frames))
    except Exception:  # noqa: BLE001  the errors are those of the network
        return False
    return True


def _trace(module: TraceableModel, *, open_time: bool) -> Any:
    open_axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if open_time:
        open_axes[1] = torch.export.Dim("frames")
    with quiet():
        return torch.export.export(module, (module.example(2),), dynamic_shapes=(open_axes,))
