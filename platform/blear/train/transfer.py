"""Initial weights of a backbone (`start_from`): copied by name and shape, with a report."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
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
from blear.weights.matlab import from_matlab
from blear.weights.read import read_weights
from blear.weights.rename_keys import rename_keys

_WRAPPER = "model."


@dataclass
class TransferReport:
    """Report of the copied and the skipped weights.

    Attributes:
        source: name of the stage, or path of the file.
        sha256: digest of the file; None for a stage.
        taken: names of the copied weights, as in the backbone.
        skipped: name -> reason, for weights of the source and of the backbone.
        renamed: name in the backbone -> name in the source, where they differ.
        reshaped: name -> shape in the source, where the shapes differ; the numbers keep their order.
        reordered: names whose rows and columns were swapped (MATLAB's layout).
    """

    source: str
    sha256: str | None = None
    taken: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    reshaped: dict[str, str] = field(default_factory=dict)
    reordered: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The report for stage.json, without empty entries."""
        always = {"from": self.source, "taken": self.taken, "skipped": self.skipped}
        return always | {k: v for k, v in asdict(self).items() if v and k not in ("source", "taken", "skipped")}


def load_initial_weights(backbone: nn.Module, spec: StartFrom, run: RunFolder) -> TransferReport | None:
    """Copies the weights of a job's `start_from` into a backbone; returns None if its file is null.

    Raises:
        BlearError: the stage has no weights yet; the file is missing or damaged, or its digest differs from the job's;
            a pattern of `rename` or `take` matches nothing.
    """
    if spec.stage is not None:
        return _rename_and_copy(backbone, backbone_weights(run.weights(spec.stage)), spec, spec.stage)
    return None if spec.file is None else _load_from_file(backbone, spec, Path(spec.file))


def _load_from_file(backbone: nn.Module, spec: StartFrom, file: Path) -> TransferReport:
    sha256 = file_digest(file)
    if spec.sha256 not in (None, sha256):
        what = f"another file than the job's: SHA-256 {sha256}, the job has {spec.sha256}"
        raise DataError(what, str(file), "restore the file; every node needs the same one")
    weights = read_weights(file, spec.format)
    if spec.layout == "matlab":
        weights = from_matlab(weights, str(file))
    report = _rename_and_copy(backbone, weights, spec, str(file))
    report.sha256 = sha256
    report.skipped = weights.ignored | report.skipped
    old = {name: report.renamed.get(name, name) for name in report.taken}
    report.reordered = [name for name in report.taken if old[name] in weights.reordered]
    return report


def _rename_and_copy(
    backbone: nn.Module, weights: Mapping[str, Tensor], spec: StartFrom, source: str
) -> TransferReport:
    names = rename_keys(list(weights), spec.rename)
    if not spec.rename:
        names = _without_wrapper(names, backbone.state_dict())
    report = copy_weights(backbone, {names[name]: value for name, value in weights.items()}, spec.take, source)
    report.renamed = {new: name for name, new in names.items() if new != name}
    return report


def _without_wrapper(names: Mapping[str, str], own: Mapping[str, Tensor]) -> dict[str, str]:
    """Removes the prefix `model.` of a LightningModule's attribute where no name of the backbone has that prefix.

    Names without the prefix, such as those of a loss, are kept.
    """
    if any(name in own for name in names.values()):
        return dict(names)
    return {name: bare if (bare := new.removeprefix(_WRAPPER)) in own else new for name, new in names.items()}


def _prefix_advice(names: Iterable[str], own: Mapping[str, Tensor]) -> str:
    """Returns the `rename` that removes the first component of the names, if the backbone has the remaining names."""
    prefixes = {name.split(".")[0] for name in names if name not in own and name.partition(".")[2] in own}
    return f'names differ by a prefix: add `rename: {{"{prefixes.pop()}.*": "*"}}`' if len(prefixes) == 1 else ""


def copy_weights(
    backbone: nn.Module, weights: Mapping[str, Tensor], take: Sequence[str], source: str
) -> TransferReport:
    """Copies the weights whose names match `take` and whose shapes agree with the backbone's.

    Two shapes agree if they are equal but for dimensions of size 1, or if one flattens the feature maps of the other:
    [n, c h w] and [n, c, h, w]. The numbers have the same order in both.

    Args:
        backbone: receives the weights.
        weights: name in the backbone -> tensor.
        take: name patterns.
        source: name of the source, for the report.

    Raises:
        RunError: a pattern of `take` copied nothing, so the stage would start from random weights without notice.
        DataError: a copied weight has values that are NaN or infinite.
    """
    report, own = TransferReport(source), backbone.state_dict()
    parameters = {name for name, _ in backbone.named_parameters()}
    for name, value in weights.items():
        if not _matches(name, take):
            report.skipped[name] = "not asked for"
        elif name not in own:
            report.skipped[name] = "not in this backbone"
        elif not _agree(tuple(value.shape), tuple(own[name].shape)):
            report.skipped[name] = f"shape {tuple(value.shape)}, here {tuple(own[name].shape)}"
        else:
            if own[name].shape != value.shape:
                report.reshaped[name] = str(tuple(value.shape))
            wrong = ~torch.isfinite(value) if name in parameters else torch.isnan(value)  # a mask may be infinite
            if count := int(wrong.sum()):
                what = f"{name}: {count} of {value.numel()} values are NaN or infinite"
                raise DataError(what, source, "the training that wrote these weights diverged: use an earlier file")
            with torch.no_grad():
                own[name].copy_(value.reshape(own[name].shape))
            report.taken.append(name)
    for name in own:
        if name not in weights:
            report.skipped[name] = "initialised: not in the source"
    for pattern in take:
        if not any(_matches(name, [pattern]) for name in report.taken):
            reasons = {n: r for n, r in report.skipped.items() if _matches(n, [pattern])}
            advice = _prefix_advice((name for name in weights if _matches(name, take)), own) or "fix `take`"
            raise RunError(f"start_from: {pattern!r} took no weights: {reasons or 'no such name'}", source, advice)
    return report


def backbone_weights(file: Path) -> dict[str, Tensor]:
    """The backbone's weights in a stage's final weights, without the prefix `backbone.`."""
    prefix = "backbone."
    return {k.removeprefix(prefix): v for k, v in load_file(file).items() if k.startswith(prefix)}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(name, f"{p}.*") for p in patterns)


def _agree(given: tuple[int, ...], own: tuple[int, ...]) -> bool:
    """Whether tensors of these shapes can hold the same numbers in the same order."""
    if [size for size in given if size != 1] == [size for size in own if size != 1]:
        return True
    few, many = sorted((given, own), key=len)
    return (len(few), len(many)) == (2, 4) and few == (many[0], many[1] * many[2] * many[3])
