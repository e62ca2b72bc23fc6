"""A network in a file of `torch.export` as a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import ClipSpec
from blear.errors import RunError
from blear.models.exported_program_check import check_exported_program
from blear.models.facts import NetworkFacts, read_facts
from blear.models.foreign import FLAG, ForeignModel, channels_of, split_metadata
from blear.models.quiet import quiet
from blear.storage.file_digest import file_digest

SUFFIX = ".pt2"
_TYPES = {torch.float32, torch.float16, torch.bfloat16, torch.uint8}


class ExportedProgramModel(ForeignModel):
    """A file of `torch.export.save`, used as a `blear.models.model.Model`.

    Its only input is pictures [N, C, H, W] or clips [N, T, C, H, W]; N must be open or 1. Facts are extra files of the
    names `blear.KEY`.

    Args:
        file: the file.
        given: fields of `NetworkFacts` that go before the extra files.

    Raises:
        RunError: the file is damaged or could execute code, its input is no picture or clip, or facts are missing.
    """

    def __init__(self, file: Path, given: Mapping[str, Any] | None = None) -> None:
        check_exported_program(file)
        extra: dict[str, Any] = {"-": ""}  # torch fills only a dict that is not empty
        try:
            with quiet():
                program = torch.export.load(file, extra_files=extra)
                self._module = program.module(check_guards=False)
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise RunError(f"cannot be read: {lines[0]}", str(file), "export it again with this torch") from error
        inputs, outputs = _input_values(program), program.graph_signature.user_outputs
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or inputs[0].dtype not in _TYPES:
            raise RunError("it needs one input of pictures", str(file), "export a network of pictures [N, C, H, W]")
        self._dtype, self._rank = inputs[0].dtype, inputs[0].ndim
        texts = {key: value.decode() if isinstance(value, bytes) else str(value) for key, value in extra.items()}
        stored, card = split_metadata(texts)
        facts = read_facts(stored, given or {}, str(file), FLAG)
        shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
        names = _output_names(card, [str(name) for name in outputs])
        super().__init__(
            file.stem, str(file), facts, _clip(shape, facts, file), names, file_digest(file), shape[0] == 1, card
        )

    def to(self, device: str) -> ExportedProgramModel:
        """See `ForeignModel.to`: files of `torch.export` stay on the CPU."""
        return self

    @torch.no_grad()
    def run(self, prepared_NTCHW: Tensor) -> list[np.ndarray]:
        """See `ForeignModel.run`."""
        x = prepared_NTCHW if self._rank == 5 else prepared_NTCHW[:, -1]
        x = x.round().clamp(0, 255) if self._dtype == torch.uint8 else x
        found = self._module(x.to(self._dtype).contiguous())
        tensors = [found] if isinstance(found, Tensor) else list(found.values() if isinstance(found, dict) else found)
        return [tensor.float().numpy() for tensor in tensors]


def _input_values(program: Any) -> list[Any]:
    names = program.graph_signature.user_inputs
    return [n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder" and n.name in names]


def _output_names(card: str, names: list[str]) -> list[str]:
    """The targets of an exported model in the order of its outputs; else the names in the graph."""
    if not card:
        return names
    stored = json.loads(card)
    return list(stored.get("outputs") or [target["name"] for target in stored["targets"]])


def _clip(shape: Sequence[int | None], facts: NetworkFacts, file: Path) -> ClipSpec:
    channels = channels_of(facts)
    if len(shape) not in (4, 5):
        what = f"its input has {len(shape)} axes, not those of pictures or clips"
        raise RunError(what, str(file), "export a network of pictures [N, C, H, W] or clips [N, T, C, H, W]")
    if shape[-3] not in (channels, None):
        raise RunError(f"its input has {shape[-3]} channels", str(file), f"give {FLAG} color=grey, rgb or bgr")
    height, width = (facts.size[0], facts.size[-1]) if facts.size else (shape[-2], shape[-1])
    if height is None or width is None:
        raise RunError("the file does not state the size of its input", str(file), f"give {FLAG} size=H,W")
    return ClipSpec((shape[1] or 1) if len(shape) == 5 else 1, channels, height, width)
