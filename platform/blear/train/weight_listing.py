"""The output of `blear weights`: the tensors of a file, and what a backbone can take from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from blear.job.overrides import parse_override
from blear.plugin.conformance.modules import backbone_for
from blear.plugin.discovery import load_plugins
from blear.weights.fit import Fit, best_fit
from blear.weights.read import read_weights


def tensor_lines(file: Path) -> Iterator[str]:
    """Iterates over one line for each tensor: name, shape and type; then the other entries with their reasons.

    Raises:
        DataError: the file is missing, damaged, of an unknown format, or holds objects other than tensors.
    """
    weights = read_weights(file)
    width = max(map(len, weights), default=0)
    for name, value in weights.items():
        yield f"{name:<{width}}  {list(value.shape)}  {str(value.dtype).removeprefix('torch.')}"
    yield f"{len(weights)} tensors, {sum(value.numel() for value in weights.values()):,} numbers"
    for name, reason in weights.ignored.items():
        yield f"ignored {name}: {reason}"


def backbone_lines(
    file: Path, component: str, params: Sequence[str] = (), plugin_files: Sequence[str] = ()
) -> Iterator[str]:
    """Iterates over the lines that say what fits a backbone, followed by the `start_from` of a job.

    Args:
        component: name of the backbone.
        params: its parameters, as `key=value`; the others have their defaults.
        plugin_files: one-file plugins.

    Raises:
        BlearError: the file or the backbone cannot be used.
    """
    weights = read_weights(file)
    registered = load_plugins(tuple(plugin_files)).get("backbone", component)
    given = dict(parse_override(text) for text in params)
    module, _ = backbone_for(registered, given)
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    own = {name: shape for name, shape in own.items() if not name.endswith("num_batches_tracked")}
    fit = best_fit(shapes, own, registered.component.rename_tables)
    yield f"{registered.name} takes {len(fit.taken)} of {len(shapes)} tensors, which are {len(own)} here"
    yield from (f"left: {name}: {reason}" for name, reason in fit.left.items())
    yield from (f"stays random: {name}" for name in fit.missing)
    if fit.taken:
        yield ""
        yield f"start_from: {_start_from(file, fit, registered.component.rename_tables)}"
    elif registered.component.rename_tables:
        yield f"its rename tables: {', '.join(registered.component.rename_tables)}"


def _start_from(file: Path, fit: Fit, tables: Mapping[str, Mapping[str, str]]) -> str:
    """The entry of a job, as YAML on one line."""
    parts = [f"file: {json.dumps(str(file))}"]
    if fit.label in tables:
        parts.append(f"rename: {fit.label}")
    elif fit.table:
        parts.append(f"rename: {json.dumps(dict(fit.table))}")
    if any(name.endswith(".weight") for name in fit.missing):
        parts.append("partial: true")
    return f"{{{', '.join(parts)}}}"
