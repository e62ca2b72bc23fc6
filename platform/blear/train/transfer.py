"""Weights of an earlier stage into a new backbone, by name and shape, with a report of what was taken and skipped."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from blear.errors import RunError


@dataclass
class Transfer:
    """What a transfer took and skipped, and why."""

    source: str
    taken: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For stage.json."""
        return {"from": self.source, **{k: v for k, v in asdict(self).items() if k != "source"}}


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(name, f"{p}.*") for p in patterns)


def transfer(backbone: nn.Module, weights: Mapping[str, Tensor], take: Sequence[str], source: str) -> Transfer:
    """Copies `weights` (names as in the backbone) whose names match `take` and whose shapes agree.

    Raises:
        RunError: a pattern of `take` took nothing: the stage would silently start from scratch.
    """
    report, own = Transfer(source), backbone.state_dict()
    for name, value in weights.items():
        if not _wanted(name, take):
            report.skipped[name] = "not asked for"
        elif name not in own:
            report.skipped[name] = "not in this backbone"
        elif own[name].shape != value.shape:
            report.skipped[name] = f"shape {tuple(value.shape)}, here {tuple(own[name].shape)}"
        else:
            with torch.no_grad():
                own[name].copy_(value)
            report.taken.append(name)
    for name in own:
        if name not in weights:
            report.skipped[name] = "initialised: not in the source"
    for pattern in take:
        if not any(_wanted(name, [pattern]) for name in report.taken):
            reasons = {n: r for n, r in report.skipped.items() if _wanted(n, [pattern])}
            raise RunError(
                f"start_from: {pattern!r} took no weights: {reasons or 'no such name'}", source, "mend `take`"
            )
    return report


def backbone_weights(file: Path) -> dict[str, Tensor]:
    """The backbone's part of a stage's final weights, by the backbone's own names."""
    prefix = "backbone."
    return {k.removeprefix(prefix): v for k, v in load_file(file).items() if k.startswith(prefix)}
