"""A network in a file of `torch.export` as a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blear.contracts import ClipSpec
from blear.errors import RunError, first_line
from blear.models.card import parse_card
from blear.models.exported_program_check import check_exported_program
from blear.models.facts import NetworkFacts, read_facts
from blear.models.foreign import FLAG, ForeignModel, channels_of, refuse_facts, split_metadata
from blear.models.memory_limit import limited_memory
from blear.models.quiet import quiet
from blear.models.time_limit import TimeLimit, TimeLimitError
from blear.storage.file_digest import file_digest

_TYPES = {torch.float32, torch.float16, torch.bfloat16, torch.uint8}


class ExportedProgramModel(ForeignModel):
    """A file of `torch.export.save`, used as a `blear.models.model.Model`.

    Its only input is pictures [N, C, H, W] or clips [N, T, C, H, W]; N must be open or 1. Facts are extra files of the
    names `blear.KEY`.

    Args:
        file: the file.
        given: fields of `NetworkFacts` that go before the extra files.

    Raises:
        RunError: the file is damaged or could execute code, needs too much memory or time, its input is no picture or
            clip, or facts are missing.
    """

    def __init__(self, file: Path, given: Mapping[str, Any] | None = None) -> None:
        check_exported_program(file)
        with limited_memory(file):
            self._read(file, given or {})

    def _read(self, file: Path, given: Mapping[str, Any]) -> None:
        self.time_limit = TimeLimit(str(file))
        try:
            program, self._module, extra = self.time_limit(lambda: _load(file), "reading the file")
        except TimeLimitError:
            raise
        except Exception as error:
            what = f"cannot be read: {first_line(error)}"
            raise RunError(what, str(file), "export it again with this torch") from error
        inputs, outputs = _input_values(program), program.graph_signature.user_outputs
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or inputs[0].dtype not in _TYPES:
            raise RunError("it needs one input of pictures", str(file), "export a network of pictures [N, C, H, W]")
        self._dtype, self._rank = inputs[0].dtype, inputs[0].ndim
        texts = {key: _text(value) for key, value in extra.items()}
        stored, card = split_metadata(texts)
        if card:
            refuse_facts(given, str(file))
        facts = read_facts(stored, given, str(file), FLAG)
        shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
        names = _output_names(card, [str(name) for name in outputs], str(file))
        super().__init__(
            file.stem, str(file), facts, _clip(shape, facts, file), names, file_digest(file), shape[0] == 1, card
        )

    def to(self, device: str) -> ExportedProgramModel:
        """See `ForeignModel.to`: files of `torch.export` stay on the CPU."""
        return self

    @torch.no_grad()
    def run(self, prepared_NTCHW: np.ndarray) -> list[np.ndarray]:
        """See `ForeignModel.run`."""
        x = torch.from_numpy(np.ascontiguousarray(prepared_NTCHW if self._rank == 5 else prepared_NTCHW[:, -1]))
        x = x.round().clamp(0, 255) if self._dtype == torch.uint8 else x
        found = self._module(x.to(self._dtype).contiguous())
        tensors = [found] if isinstance(found, Tensor) else list(found.values() if isinstance(found, dict) else found)
        return [tensor.float().numpy() for tensor in tensors]


def _load(file: Path) -> tuple[Any, Any, dict[str, Any]]:
    """The program of a file, the program as a module, and the extra files."""
    extra: dict[str, Any] = {"-": ""}  # torch fills only a dict that is not empty
    with quiet():
        program = torch.export.load(file, extra_files=extra)
        return program, program.module(check_guards=False), extra


def _input_values(program: Any) -> list[Any]:
    names = program.graph_signature.user_inputs
    return [n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder" and n.name in names]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _output_names(card: str, names: list[str], where: str) -> list[str]:
    """The targets of an exported model in the order of its outputs; else the names in the graph."""
    if not card:
        return names
    stored = parse_card(card, where)
    outputs = (stored.model_extra or {}).get("outputs")
    given = outputs if isinstance(outputs, list) else [target.name for target in stored.targets]
    return [str(name) for name in given]


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
