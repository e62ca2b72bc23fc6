"""Documentation of components, made from their declarations: parameters, examples, and a page of all components."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blear.contracts import Component
from blear.errors import PluginError
from blear.plugin.catalog import Catalog


@dataclass(frozen=True)
class Parameter:
    """One parameter of a component; `default` is "required" or "default VALUE"."""

    name: str
    description: str
    default: str


def component_parameters(component: Component) -> Iterator[Parameter]:
    """Iterates over the parameters of a component, in the order of its model."""
    schema = component.params.model_json_schema()
    required = schema.get("required", [])
    for key, field in schema.get("properties", {}).items():
        default = "required" if key in required else f"default {json.dumps(field.get('default'))}"
        yield Parameter(key, str(field.get("description", "")), default)


def format_use(name: str, example: Mapping[str, Any]) -> str:
    """Formats one component as YAML, as it appears in a job file."""
    return f"{{use: {name}{''.join(f', {k}: {json.dumps(v)}' for k, v in example.items())}}}"


def components_page(catalog: Catalog, plugins: Sequence[str] = ()) -> str:
    """Returns a Markdown page of all components, plugin by plugin.

    Args:
        catalog: the loaded plugins.
        plugins: names of the plugins to describe; empty: all.

    Raises:
        PluginError: a named plugin is not installed.
    """
    known = [plugin.name for plugin in catalog.plugins]
    for name in plugins:
        if name not in known:
            raise PluginError(f"there is no plugin {name!r}", do=f"installed: {', '.join(known)}")
    lines = ["# Components", ""]
    for plugin in catalog.plugins:
        if plugins and plugin.name not in plugins:
            continue
        lines += [f"## {plugin.name}", ""]
        if plugin.problem:
            lines += [f"Did not load: {plugin.problem}", ""]
        for slot, components in catalog.components.items():
            for registered in components.values():
                if registered.plugin == plugin:
                    lines += [*_section(registered.name, slot, registered.component), ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(name: str, slot: str, component: Component) -> list[str]:
    lines = [f"### {name}", "", f"{slot.capitalize()}. {component.summary}.", ""]
    rows = [f"| `{p.name}` | {_cell(p.description)} | {_cell(p.default)} |" for p in component_parameters(component)]
    if rows:
        lines += ["| parameter | description | default |", "| --- | --- | --- |", *rows, ""]
    if component.rename_tables:
        lines += [f"Rename tables of weight files: {', '.join(f'`{table}`' for table in component.rename_tables)}.", ""]
    return [*lines, "```yaml", *(format_use(name, example) for example in component.examples), "```"]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
