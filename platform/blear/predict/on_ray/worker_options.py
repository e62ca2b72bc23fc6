"""The options of `blear predict` as worker processes need them: absolute paths, and their own device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blear.job.overrides import parse_override
from blear.job.paths import absolute
from blear.plugin.discovery import load_plugins
from blear.plugin.path_params import path_params
from blear.predict.locators import default_locator
from blear.predict.options import PredictOptions


def options_for_workers(options: PredictOptions, gpus: float) -> PredictOptions:
    """Returns the options for workers, which have other working folders and see all GPUs of a node or none.

    Args:
        options: those of the command.
        gpus: GPUs of a worker.

    Raises:
        PluginError: the locator is not installed.
    """
    model = Path(options.model)
    return replace(
        options,
        model=str(model.absolute()) if model.exists() else options.model,
        device="cuda" if gpus else "cpu",
        locator_params=_absolute_paths(options.locator, options.locator_params),
    )


def _absolute_paths(locator: str | None, given: Sequence[str]) -> tuple[str, ...]:
    """The `NAME=VALUE` parameters of a locator, with absolute paths."""
    if not given or (locator is not None and ":" in locator):
        return tuple(given)
    catalog = load_plugins()
    registered = default_locator(catalog) if locator is None else catalog.get("locator", locator)
    paths, found = path_params(registered.component.params), []
    for text in given:
        name, value = parse_override(text)
        is_path = name in paths and isinstance(value, str)
        found.append(f"{name}={json.dumps(str(absolute(Path(value))))}" if is_path else text)
    return tuple(found)
