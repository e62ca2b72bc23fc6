"""Initial weights (`start_from`) of a backbone, a head or a whole stage: copied by name and shape, with a report."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from blear.errors import DataError, JobError, RunError
from blear.job.schema import Stage, StartFrom
from blear.progress import echo
from blear.storage.file_digest import file_digest
from blear.storage.run_folder import RunFolder
from blear.weights.fit import shapes_agree
from blear.weights.matlab import from_matlab
from blear.weights.read import read_weights
from blear.weights.rename_keys import rename_keys

_WRAPPER = "model."
_INITIALISED = "initialised: not in the source"
_SHOWN = 4
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)  # smaller types have a scale beside them


@dataclass
class TransferReport:
    """Report of the copied and the skipped weights.

    Attributes:
        source: name of the stage, or path of the file.
        sha256: digest of the file; None for a stage.
        taken: names of the copied weights, as in the module.
        skipped: name -> reason, for weights of the source and of the module.
        renamed: name in the module -> name in the source, where they differ.
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


Transfers = dict[str, TransferReport | None]
"""Part of a model, as in `Stage.initial_weights`, -> report; None: no weight file was given."""


def load_stage_weights(model: nn.Module, stage: Stage, run: RunFolder) -> Transfers:
    """Copies the initial weights of a stage into its model and the model's parts.

    Raises:
        BlearError: as `load_initial_weights`.
    """
    parts = stage.initial_weights.items()
    return {part: load_initial_weights(model_part(model, part), source, run, part) for part, source in parts}


def model_part(model: nn.Module, part: str) -> nn.Module:
    """The part of a model that `Stage.initial_weights` names: `head` and `heads.NAME` are below the module `head`."""
    return model.get_submodule(part_path(part))


def part_path(part: str) -> str:
    """The path of that part in the model's parameter names."""
    return f"head.{part.removeprefix('heads.')}" if part.startswith("heads.") else part


def print_transfers(stage: str, reports: Transfers) -> None:
    """Prints what each part of a stage's model starts from, and the weights that were not taken."""
    for part, report in reports.items():
        what = part or "the model"
        if report is None:
            key = f"stages.{stage}.{part}{'.' if part else ''}start_from.file"
            it = f"its {part}" if part.startswith("head") else "it"
            echo(f"stage {stage}: no weight file given, so {it} starts from random weights (--set {key}=PATH)")
            continue
        own = [name for name, reason in report.skipped.items() if reason == _INITIALISED]
        theirs = [f"{name} ({reason})" for name, reason in report.skipped.items() if reason != _INITIALISED]
        text = f"stage {stage}: {what} takes {len(report.taken)} tensors from {report.source}"
        text += f"; not in it, so initialised here: {_listed(own)}" if own else ""
        echo(text + (f"; left: {_listed(theirs)}" if theirs else ""))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def load_initial_weights(
    backbone: nn.Module, spec: StartFrom, run: RunFolder, part: str = "backbone"
) -> TransferReport | None:
    """Copies the weights of a job's `start_from` into a module; returns None if its file is null.

    Args:
        backbone: the module.
        part: the part of the source stage's model whose weights are read; "" for all.

    Raises:
        BlearError: the stage has no weights yet; the file is missing or damaged, or its digest differs from the job's;
            a pattern of `rename` or `take` matches nothing; convolutions get no weights.
    """
    if spec.stage is not None:
        weights = part_weights(load_file(run.weights(spec.stage)), part)
        return _rename_and_copy(backbone, weights, spec, spec.stage)
    _require_file(spec)
    return None if spec.file is None else _load_from_file(backbone, spec, Path(spec.file))


def _require_file(spec: StartFrom) -> None:
    """Refuses a start from known weights that are not here, which would silently become a random one."""
    if spec.stage is None and spec.file is None and spec.sha256 is not None:
        what = f"the file of the initial weights is missing, SHA-256 {spec.sha256}"
        raise DataError(what, "start_from.file", "give its path in `file`")


def check_transfer(
    backbone: nn.Module, spec: StartFrom, stage_weights: Mapping[str, Tensor] | None
) -> TransferReport | None:
    """Copies the weights of `start_from` into a module before any stage is trained, to find mistakes early.

    Args:
        stage_weights: weights of the same part of `spec.stage` at its initialisation; None: they are not known, and not
            checked.

    Returns:
        The report; None if the weights are not known, or no file is given.

    Raises:
        BlearError: as `load_initial_weights`.
    """
    _require_file(spec)
    if spec.file and spec.stage is None:
        return _load_from_file(backbone, spec, Path(spec.file))
    if spec.stage is not None and stage_weights is not None:
        return _rename_and_copy(backbone, stage_weights, spec, spec.stage)
    return None


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
    if isinstance(spec.rename, str):
        raise JobError(f"the rename table {spec.rename!r} is not resolved", do="read the job with `read_job`")
    names = rename_keys(list(weights), spec.rename)
    if not spec.rename:
        names = _without_wrapper(names, backbone.state_dict())
    report = copy_weights(backbone, {names[name]: value for name, value in weights.items()}, spec.take, source)
    if not spec.partial:
        _require_convolutions(backbone, report, spec.take)
    report.renamed = {new: name for name, new in names.items() if new != name}
    return report


def _require_convolutions(module: nn.Module, report: TransferReport, take: Sequence[str]) -> None:
    """Checks that each convolution that `take` names has its kernel from the source.

    Raises:
        RunError: a kernel stays random, so that the layers after it do not fit it.
    """
    kernels = [f"{name}.weight".lstrip(".") for name, m in module.named_modules() if isinstance(m, _ConvNd)]
    own = dict(module.named_parameters())
    random = [name for name in kernels if name in own and _matches(name, take) and name not in report.taken]
    if random:
        reasons = [f"{name} ({report.skipped.get(name, 'not taken')})" for name in random]
        raise RunError(
            f"start_from leaves convolutions random: {_listed(reasons)}",
            report.source,
            "fix `rename` (`blear weights FILE --for NAME` compares the names), name in `take` what the source has, "
            "or set `partial: true`",
        )


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
    """Copies the weights whose names match `take` and whose shapes and types agree with the backbone's.

    Parameters of floating-point numbers are copied from float16, bfloat16, float32 and float64 only.

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
        elif not shapes_agree(tuple(value.shape), tuple(own[name].shape)):
            report.skipped[name] = f"shape {tuple(value.shape)}, here {tuple(own[name].shape)}"
        elif own[name].is_floating_point() and value.dtype not in _FLOATS:
            report.skipped[name] = f"type {value.dtype}, here {own[name].dtype}".replace("torch.", "")
        else:
            if own[name].shape != value.shape:
                report.reshaped[name] = str(tuple(value.shape))
            value = value.to(own[name].dtype)  # a float64 may become infinite
            wrong = ~torch.isfinite(value) if name in parameters else torch.isnan(value)  # a mask may be infinite
            if count := int(wrong.sum()):
                what = f"{name}: {count} of {value.numel()} values are NaN or infinite"
                raise DataError(what, source, "the training that wrote these weights diverged: use an earlier file")
            with torch.no_grad():
                own[name].copy_(value.reshape(own[name].shape))
            report.taken.append(name)
    for name in own:
        if name not in weights:
            report.skipped[name] = _INITIALISED
    for pattern in take:
        if not any(_matches(name, [pattern]) for name in report.taken):
            reasons = {n: r for n, r in report.skipped.items() if _matches(n, [pattern])}
            advice = _prefix_advice((name for name in weights if _matches(name, take)), own) or "fix `take`"
            raise RunError(f"start_from: {pattern!r} took no weights: {reasons or 'no such name'}", source, advice)
    return report


def part_weights(weights: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The weights of one part of a stage's model, without the prefix of that part.

    Args:
        weights: all weights of the model.
        part: "" for all, `backbone`, `head`, or `heads.NAME`: the head NAME of a model that has it, else its only head.
    """
    prefix = f"{part}." if part else ""
    if part.startswith("heads."):
        named = f"head.{part.removeprefix('heads.')}."
        prefix = named if any(name.startswith(named) for name in weights) else "head."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(name, f"{p}.*") for p in patterns)
