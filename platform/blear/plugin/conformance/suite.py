"""Collects the checks of one plugin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from blear.errors import PluginError
from blear.plugin.catalog import Catalog, RegisteredComponent
from blear.plugin.conformance.backbones import backbone_checks
from blear.plugin.conformance.checks import Check
from blear.plugin.conformance.datasets import dataset_checks
from blear.plugin.conformance.declarations import declaration_checks
from blear.plugin.conformance.degradations import degradation_checks
from blear.plugin.conformance.heads import head_checks
from blear.plugin.conformance.loading import loading_checks
from blear.plugin.conformance.locators import locator_checks
from blear.plugin.discovery import load_plugins


def checks_of(plugin: str, *, only: Sequence[str] = ()) -> list[Check]:
    """Returns every check of every component of a plugin.

    Args:
        plugin: its name as installed, or the path of a one-file plugin (`./mine.py`).
        only: full or short names of components; empty: all.

    Raises:
        PluginError: the plugin is unknown, cannot be loaded, registers no component, or has no such component.
    """
    file = Path(plugin)
    catalog = load_plugins((str(file),)) if plugin.endswith(".py") else load_plugins()
    name = file.stem if plugin.endswith(".py") else plugin
    found = [known for known in catalog.plugins if known.name == name]
    if not found:
        known = ", ".join(other.name for other in catalog.plugins)
        raise PluginError(f"there is no plugin {name!r}", do=f"install it, or give a file; installed: {known}")
    if found[0].problem:
        raise PluginError(f"the plugin does not load: {found[0].problem}", found[0].origin)
    components = [
        registered
        for slot in catalog.components.values()
        for registered in slot.values()
        if registered.plugin.name == name
    ]
    if not components:
        raise PluginError("the plugin registers no component", found[0].origin, "return Components from its hooks")
    chosen = [c for c in components if not only or c.name in only or c.name.split("/")[1] in only]
    if not chosen:
        raise PluginError(f"no component {', '.join(only)}", name, f"it has: {', '.join(c.name for c in components)}")
    return [*loading_checks(found[0]), *(check for component in chosen for check in _checks(component, catalog))]


def _checks(registered: RegisteredComponent, catalog: Catalog) -> Iterator[Check]:
    yield from declaration_checks(registered)
    if registered.slot == "dataset":
        yield from dataset_checks(registered)
    elif registered.slot == "degradation":
        yield from degradation_checks(registered)
    elif registered.slot == "backbone":
        yield from backbone_checks(registered)
    elif registered.slot == "head":
        yield from head_checks(registered, catalog)
    else:
        yield from locator_checks(registered)
