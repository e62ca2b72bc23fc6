"""The output of `blear weights`: the tensors of a file, and what a backbone or a head can take from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from blear.job.overrides import parse_override
from blear.plugin.catalog import Catalog, RegisteredComponent
from blear.plugin.conformance.heads import head_for
from blear.plugin.conformance.modules import backbone_for
from blear.plugin.discovery import load_plugins
from blear.weights.fit import Fit, best_fit
from blear.weights.read import read_weights

Tables = Mapping[str, Mapping[str, str]]


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


def component_lines(
    file: Path, component: str, params: Sequence[str] = (), plugin_files: Sequence[str] = ()
) -> Iterator[str]:
    """Iterates over the lines that say what fits a backbone or a head, followed by the `start_from` of a job.

    Args:
        component: name of the backbone or head.
        params: its parameters, as `key=value`; the others have their defaults.
        plugin_files: one-file plugins.

    Raises:
        BlearError: the file or the component cannot be used.
    """
    weights = read_weights(file)
    catalog = load_plugins(tuple(plugin_files))
    given = dict(parse_override(text) for text in params)
    module: nn.Module
    if not _is_known(catalog, "backbone", component) and _is_known(catalog, "head", component):
        registered = catalog.get("head", component)
        module = head_for(registered, given, catalog, [tuple(value.shape) for value in weights.values()])
    else:
        registered = catalog.get("backbone", component)
        module, _ = backbone_for(registered, given)
    yield from fit_lines(file, weights, module, registered, "start_from")


def fit_lines(
    file: Path, weights: Mapping[str, Tensor], module: nn.Module, registered: RegisteredComponent, key: str
) -> Iterator[str]:
    """Iterates over the lines that say what a module takes from a file.

    Args:
        file: the file.
        weights: its tensors.
        module: a backbone or head.
        registered: the component that built it.
        key: of the proposed entry.
    """
    tables = registered.component.rename_tables
    fit = best_fit(*_shapes(weights, module), tables)
    yield from summary_lines(fit, registered.name, len(weights))
    if fit.taken:
        yield ""
        yield f"{key}: {start_from(file, fit, tables)}"
    elif tables:
        yield f"its rename tables: {', '.join(tables)}"


def summary_lines(fit: Fit, name: str, tensors: int) -> Iterator[str]:
    """Iterates over the lines that say what fits: counts, then the tensors that do not fit with their reasons."""
    yield f"{name} takes {len(fit.taken)} of {tensors} tensors, which are {len(fit.taken) + len(fit.missing)} here"
    yield from (f"left: {name}: {reason}" for name, reason in fit.left.items())
    yield from (f"stays random: {name}" for name in fit.missing)


def module_fit(weights: Mapping[str, Tensor], module: nn.Module) -> Fit:
    """Returns what a module takes from a file, without the tables of a component."""
    return best_fit(*_shapes(weights, module), {})


def start_from(file: Path, fit: Fit, tables: Tables) -> str:
    """The entry of a job, as YAML on one line."""
    parts = [f"file: {json.dumps(str(file))}"]
    if fit.label in tables:
        parts.append(f"rename: {fit.label}")
    elif fit.table:
        parts.append(f"rename: {json.dumps(dict(fit.table))}")
    if any(name.endswith(".weight") for name in fit.missing):
        parts.append("partial: true")
    return f"{{{', '.join(parts)}}}"


def _shapes(
    weights: Mapping[str, Tensor], module: nn.Module
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    own = {name: shape for name, shape in own.items() if not name.endswith("num_batches_tracked")}
    return {name: tuple(value.shape) for name, value in weights.items()}, own


def _is_known(catalog: Catalog, slot: str, name: str) -> bool:
    return any(name in (full, full.partition("/")[2]) for full in catalog.components[slot])
