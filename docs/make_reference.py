"""Writes docs/reference/: commands, hooks and contracts, job schema, components, and the list of public names.

Run `make docs`. A test fails if a page is out of date; a change of surface.txt needs its digest in CHANGELOG.md.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib
import inspect
import itertools
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import blear
from blear import contracts, hooks
from blear.cli import cli
from blear.job.schema import Job
from blear.models.card import ModelCard
from blear.plugin.descriptions import components_page
from blear.plugin.discovery import load_plugins

FOLDER = Path(__file__).parent / "reference"
PUBLIC = ("clips", "errors", "folders", "imaging", "metrics", "separable", "testing", "video")
"""Modules that plugins may import in addition to `hooks` and `contracts`."""


def pages() -> dict[str, str]:
    """Returns file name -> content."""
    catalog = load_plugins()
    own = [plugin.name for plugin in catalog.plugins if plugin.first_party]
    return {
        "commands.md": commands(),
        "hooks.md": hooks_page(),
        "job.md": job_page(),
        "components.md": components_page(catalog, own),
        "python.md": python_page(),
        "surface.txt": surface(),
    }


def commands() -> str:
    """The help texts of `blear` and of every command."""
    parts = ["# Commands", ""]
    for name, command in _commands(cli, "blear"):
        names = cli.context_settings["help_option_names"]
        with click.Context(command, info_name=name, terminal_width=100, help_option_names=names) as context:
            parts += [f"## {name}", "", "```", command.get_help(context), "```", ""]
    return "\n".join(parts)


def hooks_page() -> str:
    """The hooks, then every class of `blear.contracts` with its fields and methods."""
    parts = ["# Hooks and contracts", "", _markdown(inspect.getdoc(hooks) or ""), ""]
    for name in hooks.SLOTS.values():
        parts += [f"## {name}", "", _markdown(inspect.getdoc(getattr(hooks, name)) or ""), ""]
    parts += ["## Contracts", "", _markdown(inspect.getdoc(contracts) or ""), ""]
    known = {name for name, kind in _public(contracts) if inspect.isclass(kind)} | set(_aliases(contracts))
    for name, kind in _public(contracts):
        if inspect.isclass(kind):
            parts += [f"## {name}", "", *_class_section(kind, known)]
    for name, (value, text) in _aliases(contracts).items():
        parts += [f"## {name}", "", "```python", f"{name} = {value}", "```", "", text, ""]
    return "\n".join(parts)


def _aliases(module: Any) -> dict[str, tuple[str, str]]:
    """Public names of types -> (definition, documentation), from the sources of a package's modules."""
    modules = [
        one for one in vars(module).values() if inspect.ismodule(one) and one.__name__.startswith(module.__name__)
    ]
    tree = [node for one in modules for node in ast.parse(inspect.getsource(one)).body]
    found = {}
    for node, after in itertools.pairwise([*tree, ast.Pass()]):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if name[0].isupper():
                found[name] = (ast.unparse(node.value), str(after.value.value) if documented else "")
    return found


def _types(text: str, known: set[str], own: str) -> list[str]:
    """A line of links to the types of this page that a signature or the fields name."""
    named = [name for name in sorted(known) if name != own and re.search(rf"\b{name}\b", text)]
    return [f"Types: {', '.join(f'[{name}](#{name.lower()})' for name in named)}.", ""] if named else []


def python_page() -> str:
    """The names of `import blear`: functions with their signatures, classes with their members."""
    parts = ["# Python", "", _markdown(inspect.getdoc(blear) or ""), ""]
    for name, value in _api():
        parts += [f"## blear.{name}", ""]
        if inspect.isclass(value):
            parts += _class_section(value)
        else:
            parts += [
                "```python",
                f"blear.{name}{_signature(value)}",
                "```",
                "",
                _markdown(inspect.getdoc(value) or ""),
                "",
            ]
    schema = ModelCard.model_json_schema()
    parts += ["## card.json", "", schema["description"], "", *_fields_table(schema), ""]
    for name in ("Calibration", "Training", "ClipSpec", "Target"):
        parts += [f"### {name}", "", *_fields_table(schema["$defs"][name]), ""]
    return "\n".join(parts)


def _api() -> Iterator[tuple[str, Any]]:
    for name in sorted(blear.__all__):
        if not name.startswith("__"):
            yield name, getattr(blear, name)


def _class_section(kind: type, known: set[str] | None = None) -> list[str]:
    """Docstring, fields with their types, and methods with their docstrings.

    Args:
        known: names of types with a section of their own, which become links.
    """
    parts = [_markdown(inspect.getdoc(kind) or ""), ""]
    fields = [line for line in _members(kind) if "(" not in line.split(":")[0]]
    if fields:
        parts += ["```python", *fields, "```", "", *_types("\n".join(fields), known or set(), kind.__name__)]
    for name, value in vars(kind).items():
        if _is_property(value) and not name.startswith("_") and inspect.getdoc(value):
            parts += [f"### {kind.__name__}.{name}", "", _markdown(inspect.getdoc(value) or ""), ""]
    for name, method in _methods(kind):
        heading = f"{kind.__name__}.{name}".replace("__", "\\_\\_")
        parts += [f"### {heading}", "", "```python", f"{name}{_signature(method)}", "```", ""]
        parts += _types(_signature(method), known or set(), kind.__name__)
        parts += [_markdown(inspect.getdoc(method) or ""), ""]
    return parts


def _methods(kind: type) -> list[tuple[str, Any]]:
    """Public methods of a class and its own `__call__`, in the order of its source; properties are fields."""
    return [
        (name, value)
        for name, value in vars(kind).items()
        if inspect.isfunction(value)
        and (not name.startswith("_") or (name == "__call__" and value.__module__ == kind.__module__))
    ]


def _signature(function: Any) -> str:
    """The signature without the quotes of postponed annotations."""
    return _plain_signature(function).replace("'", "")


def _plain_signature(function: Any) -> str:
    """The signature; a function as a default is its name, without its address."""
    return re.sub(r"<function ([\w.]+) at 0x[0-9a-f]+>", r"\1", str(inspect.signature(function)))


def job_page() -> str:
    """A table of the keys of every section of a job file."""
    schema = Job.model_json_schema()
    parts = ["# The job file", "", "`blear schema` prints the JSON schema, with the parameters of every component.", ""]
    for name, section in {"Job": schema, **schema["$defs"]}.items():
        parts += [f"## {name}", "", section.get("description", ""), "", *_fields_table(section), ""]
    return "\n".join(parts)


def _fields_table(section: dict[str, Any]) -> list[str]:
    """A table of the keys of one model of a JSON schema."""
    lines = ["| key | type | default | description |", "| --- | --- | --- | --- |"]
    for key, field in section.get("properties", {}).items():
        default = f"`{json.dumps(field['default'])}`" if "default" in field else "empty"
        default = "required" if key in section.get("required", []) else default
        lines.append(f"| `{key}` | {_type(field)} | {_cell(default)} | {_cell(field.get('description', ''))} |")
    return lines


def surface() -> str:
    """One line for each public name: hooks, contracts, public modules, commands, keys of a job."""
    lines = [f"hook {name}{inspect.signature(getattr(hooks, name))}" for name in hooks.SLOTS.values()]
    lines += [f"hooks.PLUGIN_API = {hooks.PLUGIN_API}"]
    for name, value in _api():
        lines += _lines(f"blear.{name}", value)
    for module in ("contracts", *PUBLIC):
        for name, value in _public(importlib.import_module(f"blear.{module}")):
            lines += _lines(f"{module}.{name}", value)
    for name, command in _commands(cli, "blear"):
        lines.append(f"command {name} {' '.join(_parameter(p) for p in command.params if p.name != 'help')}".rstrip())
    schema = Job.model_json_schema()
    for name, section in {"Job": schema, **schema["$defs"]}.items():
        lines += [f"job {name}.{key}: {_type(field)}" for key, field in section.get("properties", {}).items()]
    text = "\n".join(lines) + "\n"
    return f"# digest {digest(text)}: every public name; made by `make docs`\n{text}"


def digest(lines: str) -> str:
    """Returns eight hexadecimal digits of the SHA-256 of the surface, without its first line."""
    return hashlib.sha256(lines.encode()).hexdigest()[:8]


def undocumented() -> list[str]:
    """Returns the hooks, commands, options and job fields without documentation."""
    found = [f"hook {name}" for name in hooks.SLOTS.values() if not inspect.getdoc(getattr(hooks, name))]
    for name, command in _commands(cli, "blear"):
        found += [] if command.help else [f"command {name}"]
        options = [p for p in command.params if isinstance(p, click.Option)]
        found += [f"{name} {option.opts[0]}" for option in options if not option.help]
    schema = Job.model_json_schema()
    for name, section in {"Job": schema, **schema["$defs"]}.items():
        found += [
            f"job {name}.{key}" for key, field in section.get("properties", {}).items() if not field.get("description")
        ]
    return found


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for word, inner in sorted(command.commands.items()):
            yield from _commands(inner, f"{name} {word}")


def _parameter(parameter: click.Parameter) -> str:
    return parameter.opts[0] if isinstance(parameter, click.Option) else str(parameter.name).upper()


def _public(module: Any) -> Iterator[tuple[str, Any]]:
    """Iterates over the public classes and functions of a module: those in `__all__`, else those that it defines."""
    names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
    for name in sorted(names):
        value = getattr(module, name)
        own = hasattr(module, "__all__") or getattr(value, "__module__", "") == module.__name__
        if own and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


def _lines(name: str, value: Any) -> list[str]:
    if inspect.isfunction(value):
        return [f"{name}{_plain_signature(value)}"]
    return [f"{name}", *(f"{name}.{line}" for line in _members(value))]


def _members(kind: Any) -> list[str]:
    """Returns the fields and methods that a class itself defines, with their annotations."""
    fields = {f.name: f.type for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
    fields |= {n: t for n, t in inspect.get_annotations(kind).items() if not n.startswith("_") and n not in fields}
    fields |= {n: _returned(p) for n, p in vars(kind).items() if _is_property(p) and not n.startswith("_")}
    methods = [(n, f) for n, f in vars(kind).items() if inspect.isfunction(f) and not n.startswith("_")]
    calls = [("__call__", vars(kind)["__call__"])] if inspect.isfunction(vars(kind).get("__call__")) else []
    return [f"{n}: {t}" for n, t in fields.items()] + [f"{n}{_plain_signature(f)}" for n, f in [*calls, *methods]]


def _is_property(member: Any) -> bool:
    return isinstance(member, property | functools.cached_property)


def _returned(member: Any) -> str:
    """The type of a property, as its source has it."""
    function = member.fget if isinstance(member, property) else member.func
    return str(inspect.get_annotations(function).get("return", "Any"))


def _markdown(docstring: str) -> str:
    """Converts a docstring with Google sections: entries become lists, examples and indented lines become code."""
    parts: list[str] = []
    for block in re.split(r"\n\n(?=\S)", docstring):
        title, _, body = block.partition("\n")
        if title in ("Args:", "Attributes:", "Raises:"):
            parts.append("\n".join([f"**{title[:-1]}**", "", *(_entry(line) for line in _unwrapped(body))]))
        elif title == "Returns:":
            parts.append(f"**Returns** {' '.join(textwrap.dedent(body).split())}")
        elif title == "Example:":
            parts.append(f"```python\n{textwrap.dedent(body)}\n```")
        else:
            parts.append(re.sub(r"\n\n((?:    .*(?:\n|$)|\n)+)", _code, block))
    return "\n\n".join(parts)


def _unwrapped(body: str) -> list[str]:
    """The entries of a section, each on one line: lines with a deeper indentation continue an entry."""
    entries: list[str] = []
    for line in textwrap.dedent(body).splitlines():
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        elif line.strip():
            entries.append(line)
    return entries


def _entry(line: str) -> str:
    name, colon, text = line.partition(": ")
    return f"- `{name}`: {text}" if colon else f"- {line}"


def _code(found: re.Match[str]) -> str:
    return f"\n\n```python\n{textwrap.dedent(found[1]).strip()}\n```\n"


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return f"[{field['$ref'].split('/')[-1]}](#{field['$ref'].split('/')[-1].lower()})"
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(dict.fromkeys(_type(one) for one in field[key]))
    if field.get("type") == "array":
        inner = field.get("items") or {"type": "list"}
        return (
            f"list of {_type(inner)}"
            if "prefixItems" not in field
            else f"[{', '.join(_type(i) for i in field['prefixItems'])}]"
        )
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"name: {_type(field['additionalProperties'])}"
    return str(field.get("type", "any"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Writes the pages; exits with an error if something is not documented."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
    if missing := undocumented():
        sys.exit(f"not documented: {', '.join(missing)}")


if __name__ == "__main__":
    main()
