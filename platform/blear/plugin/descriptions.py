"""Components in words, from their declarations alone: parameters, examples, a page of all of them."""

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
    """One key that a job may give: `default` says "required" or what is taken without it."""

    name: str
    description: str
    default: str


def parameters(component: Component) -> Iterator[Parameter]:
    """The parameters of a component, in their order."""
    schema = component.params.model_json_schema()
    required = schema.get("required", [])
    for key, field in schema.get("properties", {}).items():
        default = "required" if key in required else f"default {json.dumps(field.get('default'))}"
        yield Parameter(key, str(field.get("description", "")), default)


def use_line(name: str, example: Mapping[str, Any]) -> str:
    """How a job writes a component with these parameters."""
    return f"{{use: {name}{''.join(f', {k}: {json.dumps(v)}' for k, v in example.items())}}}"


def page(catalog: Catalog, plugins: Sequence[str] = ()) -> str:
    """Markdown of every component of the named plugins, else of all, plugin by plugin.

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
    rows = [f"| `{p.name}` | {_cell(p.description)} | {_cell(p.default)} |" for p in parameters(component)]
    if rows:
        lines += ["| parameter | | |", "| --- | --- | --- |", *rows, ""]
    return [*lines, "```yaml", *(use_line(name, example) for example in component.examples), "```"]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
