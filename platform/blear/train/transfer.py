"""First weights of a backbone, by name and shape, with a report of what was taken and skipped."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from blear.errors import DataError, RunError
from blear.job.schema import StartFrom
from blear.storage.file_digest import file_digest
from blear.storage.run_folder import RunFolder
from blear.weights.load import load
from blear.weights.matlab import from_matlab
from blear.weights.rename import renamed


@dataclass
class Transfer:
    """What a transfer took and skipped, and why.

    Attributes:
        source: the stage, or the file.
        sha256: of the file.
        taken: names of the backbone.
        skipped: name -> why, those of the backbone that were left as initialised included.
        renamed: name in the backbone -> name in the source, where they differ.
        reshaped: name -> the shape it had; the same numbers in the same order.
        reordered: names whose rows and columns were exchanged.
    """

    source: str
    sha256: str | None = None
    taken: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    reshaped: dict[str, str] = field(default_factory=dict)
    reordered: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For stage.json; what does not apply is left out."""
        always = {"from": self.source, "taken": self.taken, "skipped": self.skipped}
        return always | {k: v for k, v in asdict(self).items() if v and k not in ("source", "taken", "skipped")}


def start(backbone: nn.Module, spec: StartFrom, run: RunFolder) -> Transfer | None:
    """Gives a backbone the weights that a job names; None where their file is null.

    Raises:
        BlearError: the stage has no weights yet; the file is missing, damaged or another than the job's; a pattern of
            `rename` or `take` finds nothing.
    """
    if spec.stage is not None:
        return _start(backbone, backbone_weights(run.weights(spec.stage)), spec, spec.stage)
    return None if spec.file is None else _start_from_file(backbone, spec, Path(spec.file))


def _start_from_file(backbone: nn.Module, spec: StartFrom, file: Path) -> Transfer:
    sha256 = file_digest(file)
    if spec.sha256 not in (None, sha256):
        what = f"another file than the job's: SHA-256 {sha256}, the job has {spec.sha256}"
        raise DataError(what, str(file), "bring the file back; every node needs the same one")
    found = load(file, spec.format)
    if spec.layout == "matlab":
        found = from_matlab(found, str(file))
    report = _start(backbone, found, spec, str(file))
    report.sha256 = sha256
    report.skipped = found.ignored | report.skipped
    old = {name: report.renamed.get(name, name) for name in report.taken}
    report.reordered = [name for name in report.taken if old[name] in found.reordered]
    return report


def _start(backbone: nn.Module, weights: Mapping[str, Tensor], spec: StartFrom, source: str) -> Transfer:
    names = renamed(list(weights), spec.rename)
    report = transfer(backbone, {names[name]: value for name, value in weights.items()}, spec.take, source)
    report.renamed = {new: name for name, new in names.items() if new != name}
    return report


def transfer(backbone: nn.Module, weights: Mapping[str, Tensor], take: Sequence[str], source: str) -> Transfer:
    """Copies `weights` (names as in the backbone) whose names match `take` and whose shapes agree.

    Shapes agree too where they differ in ones only, or where one unrolls what the other has as maps: [n, c h w] and
    [n, c, h, w]. The numbers are in the same order then.

    Raises:
        RunError: a pattern of `take` took nothing: the stage would silently start from scratch.
    """
    report, own = Transfer(source), backbone.state_dict()
    for name, value in weights.items():
        if not _wanted(name, take):
            report.skipped[name] = "not asked for"
        elif name not in own:
            report.skipped[name] = "not in this backbone"
        elif not _agree(tuple(value.shape), tuple(own[name].shape)):
            report.skipped[name] = f"shape {tuple(value.shape)}, here {tuple(own[name].shape)}"
        else:
            if own[name].shape != value.shape:
                report.reshaped[name] = str(tuple(value.shape))
            with torch.no_grad():
                own[name].copy_(value.reshape(own[name].shape))
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


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(name, f"{p}.*") for p in patterns)


def _agree(given: tuple[int, ...], own: tuple[int, ...]) -> bool:
    """Whether tensors of these shapes hold the same numbers in the same order."""
    if [size for size in given if size != 1] == [size for size in own if size != 1]:
        return True
    few, many = sorted((given, own), key=len)
    return (len(few), len(many)) == (2, 4) and few == (many[0], many[1] * many[2] * many[3])
