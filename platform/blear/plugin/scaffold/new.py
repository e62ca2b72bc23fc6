"""Writes a new plugin from templates: an installable package, or one file."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from blear import __version__
from blear.errors import PluginError
from blear.hooks import SLOTS
from blear.plugin.discovery import load_plugins, module_of_name

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_COMPONENTS = {
    "dataset": ("stripes", "Stripes", "Drawn stripes along rows or columns"),
    "degradation": ("fade", "Fade", "Takes contrast away"),
    "backbone": ("tiny", "Tiny", "Three strided convolutions"),
    "head": ("classes", "Classes", "Names one class of a clip"),
}
TEMPLATE_SLOTS = tuple(_COMPONENTS)
"""Slots that a new plugin can begin with."""
_PACKAGE = ("pyproject.toml", "README.md", "job.yaml")


def write_package(name: str, slots: Sequence[str], folder: Path) -> list[Path]:
    """Writes an installable package `blear-NAME` into `folder`, atomically.

    Args:
        name: the plugin's name; its components have the names `NAME/...`.
        folder: the parent folder of the package.
        slots: of `TEMPLATE_SLOTS`; the plugin gets one working component for each. Empty: all of them.

    Returns:
        The files, the package's folder first.

    Raises:
        PluginError: the name is invalid or taken, or the package's folder exists.
    """
    facts = _facts(name, slots)
    package, target = f"blear_{name}", folder / f"blear-{name.replace('_', '-')}"
    facts |= {"package": package, "distribution": target.name, "file": False}
    files = {page: page for page in _PACKAGE} | {
        f"src/{package}/__init__.py": "plugin.py",
        f"src/{package}/params.py": "params.py",
        "tests/test_plugin.py": "test_plugin.py",
    }
    files |= {f"src/{package}/{slot}.py": "module.py" for slot in facts["slots"]}
    if target.exists():
        raise PluginError("already exists", str(target), "choose another name or folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{target.name}.") as place:
        partial = Path(place) / target.name
        for path, template in files.items():
            _write(partial / path, template, facts | {"slot": Path(path).stem})
        (partial / "job.yaml").chmod(0o755)
        shutil.move(partial, target)
    return [target, *(target / path for path in files)]


def write_file(name: str, slots: Sequence[str], folder: Path) -> list[Path]:
    """Writes a one-file plugin `NAME.py` and a job that uses it, `NAME.yaml`. See `write_package`."""
    facts = _facts(name, slots) | {"file": True}
    paths = {folder / f"{name}.py": "one_file.py", folder / f"{name}.yaml": "job.yaml"}
    if other := module_of_name(folder / f"{name}.py"):
        raise PluginError(f"the file would replace the module {name!r} ({other})", f"{name}.py", "choose another name")
    for path in paths:
        if path.exists():
            raise PluginError("already exists", str(path), "choose another name or folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for path, template in paths.items():
        _write(path, template, facts)
    (folder / f"{name}.yaml").chmod(0o755)
    return list(paths)


def _facts(name: str, slots: Sequence[str]) -> dict[str, Any]:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        do = "use lower-case letters, digits and underscores, a letter first"
        raise PluginError(f"{name!r} is not a valid plugin name", do=do)
    taken = [plugin for plugin in load_plugins().plugins if plugin.name == name]
    if taken:
        raise PluginError(f"a plugin is already named {name!r}", taken[0].origin, "choose another name")
    chosen = [slot for slot in TEMPLATE_SLOTS if slot in slots] or list(TEMPLATE_SLOTS)
    parts = {slot: dict(zip(("name", "kind", "summary"), _COMPONENTS[slot], strict=True)) for slot in chosen}
    kinds = sorted(f"{part['kind']}Params" for part in parts.values())
    return {"name": name, "slots": chosen, "parts": parts, "kinds": kinds, "hooks": SLOTS, "version": __version__}


def _write(path: Path, template: str, facts: Mapping[str, Any]) -> None:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("blear.plugin.scaffold"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(environment.get_template(f"{template}.j2").render(facts))
