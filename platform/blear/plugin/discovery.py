"""Finds and loads plugins: installed distributions with an entry point in the group `blear`, and one-file plugins.

pluggy's own entry-point loader silently ignores a second distribution with the same entry-point name, stops at the
first import error, and does not report misspelt hooks. The loader of this module reports each of these problems with
its plugin, and loads all other plugins.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from pydantic import BaseModel

from blear import hooks
from blear.contracts import Component
from blear.plugin.catalog import Catalog, Plugin, RegisteredComponent
from blear.plugin.uses import RESERVED_KEYS

_FILE_MODULES: set[str] = set()  # names of the one-file plugins that this process has imported
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@functools.lru_cache(maxsize=8)
def load_plugins(files: tuple[str, ...] = ()) -> Catalog:
    """Loads all installed plugins and the given one-file plugins.

    A plugin that cannot be loaded is listed in the catalog with its problem; it raises no error here. The result is
    cached: the plugins of a process do not change.

    Args:
        files: paths of one-file plugins.
    """
    loader = _Loader()
    by_name: dict[str, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group="blear"):
        by_name[point.name].append(point)
    for name in sorted(by_name):
        loader.load_entry_points(name, by_name[name])
    for file in dict.fromkeys(files):
        loader.load_file(Path(file))
    return Catalog(tuple(loader.plugins), loader.components)


class _Loader:
    """Loads plugins one by one and collects their components and problems."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.components: dict[str, dict[str, RegisteredComponent]] = {slot: {} for slot in hooks.SLOTS}

    def load_entry_points(self, name: str, points: Sequence[EntryPoint]) -> None:
        """Loads the plugin of an entry-point name; more than one distribution with this name is a problem."""
        origins = sorted({f"{p.dist.name} {p.dist.version}" for p in points if p.dist is not None})
        version = points[0].dist.version if points[0].dist is not None else "unknown"
        plugin = Plugin(name, " and ".join(origins), version)
        if len(origins) > 1 or len({p.value for p in points}) > 1:
            self._add_problem(plugin, f"two distributions register the plugin name {name!r}; uninstall one of them")
            return
        try:
            module = points[0].load()
        except (Exception, SystemExit) as error:  # noqa: BLE001  the import of a third-party module may raise anything
            self._add_problem(plugin, f"import failed: {type(error).__name__}: {error}")
            return
        self._register(plugin, module)

    def load_file(self, file: Path) -> None:
        """Loads a one-file plugin."""
        plugin = Plugin(file.stem, str(file), "file")
        if not file.is_file():
            self._add_problem(plugin, "no such file")
            return
        if "." in file.stem:
            self._add_problem(plugin, "the file name has a dot, so that no module can have it; rename the file")
            return
        if taken := [p.origin for p in self.plugins if p.name == plugin.name]:
            self._add_problem(plugin, f"a plugin is already named {plugin.name!r} ({taken[0]}); rename the file")
            return
        if other := module_of_name(file):
            self._add_problem(
                plugin, f"named like the module {file.stem!r} ({other}), which it would replace; rename it"
            )
            return
        spec = importlib.util.spec_from_file_location(file.stem, file)
        if spec is None or spec.loader is None:
            self._add_problem(plugin, "not a Python file")
            return
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module  # for pickling of its classes, and for `build` strings
        _FILE_MODULES.add(file.stem)
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001  as above
            sys.modules.pop(file.stem, None)
            self._add_problem(plugin, f"import failed: {type(error).__name__}: {error}")
            return
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        self._register(Plugin(plugin.name, plugin.origin, digest), module)

    def _add_problem(self, plugin: Plugin, problem: str) -> None:
        self.plugins.append(Plugin(plugin.name, plugin.origin, plugin.version, problem))

    def _register(self, plugin: Plugin, module: ModuleType) -> None:
        """Calls the hooks of a module and adds its components; a problem with one of them excludes the plugin."""
        api = getattr(module, "PLUGIN_API", None)
        if api != hooks.PLUGIN_API:
            problem = f"states PLUGIN_API = {api}, this blear has {hooks.PLUGIN_API}; install a matching version"
            self._add_problem(plugin, problem)
            return
        if plain := [hook for hook in hooks.SLOTS.values() if _lacks_marker(getattr(module, hook, None))]:
            self._add_problem(plugin, f"{plain[0]} is not registered: write @hookimpl above it (blear.hooks.hookimpl)")
            return
        manager = pluggy.PluginManager("blear")
        manager.add_hookspecs(hooks)
        try:
            manager.register(module, plugin.name)
            manager.check_pending()
            declared = [
                (slot, component)
                for slot, hook in hooks.SLOTS.items()
                for implementation in getattr(manager.hook, hook).get_hookimpls()  # a call would leave out None
                for component in _components(hook, implementation.function())
            ]
        except pluggy.PluginValidationError as error:
            self._add_problem(plugin, f"{error}; {_hook_suggestion(module)}")
            return
        except (Exception, SystemExit) as error:  # noqa: BLE001  as above
            self._add_problem(plugin, f"registration failed: {type(error).__name__}: {error}")
            return
        if problem := _declaration_problem(declared):
            self._add_problem(plugin, problem)
            return
        self.plugins.append(plugin)
        for slot, component in declared:
            name = f"{plugin.name}/{component.name}"
            self.components[slot][name] = RegisteredComponent(slot, name, component, plugin)


def _lacks_marker(function: Any) -> bool:
    """Whether a function with the name of a hook is neither an implementation nor the hook itself, imported."""
    return callable(function) and not (hasattr(function, "blear_impl") or hasattr(function, "blear_spec"))


def _components(hook: str, result: Any) -> list[Any]:
    """The components that a hook returned.

    Raises:
        TypeError: the hook returned no list.
    """
    if not isinstance(result, Iterable):
        raise TypeError(f"{hook} returned {type(result).__name__}, expected a list of Components")
    return list(result)


def module_of_name(file: Path) -> str:
    """Returns the origin of a standard or installed module with the name of a one-file plugin; empty if none has it."""
    if file.stem in _FILE_MODULES:
        return ""
    if file.stem in sys.stdlib_module_names:
        return "standard library"
    if file.stem in {"blear", *(point.module.partition(".")[0] for point in entry_points(group="blear"))}:
        return "blear or an installed plugin"
    try:
        spec = importlib.util.find_spec(file.stem)
    except (ImportError, ValueError):  # ValueError: a module without a spec
        return ""
    origin = Path(spec.origin) if spec is not None and spec.origin else Path()
    return str(origin) if {"site-packages", "dist-packages"} & set(origin.parts) else ""


def _hook_suggestion(module: ModuleType) -> str:
    """Lists the hooks, with suggestions for misspelt functions of the module."""
    names = [name for name in vars(module) if name.startswith("register") and name not in hooks.SLOTS.values()]
    meant = ", ".join(hook for name in names for hook in difflib.get_close_matches(name, hooks.SLOTS.values(), n=1))
    return f"the hooks are {', '.join(hooks.SLOTS.values())}{'; meant: ' + meant if meant else ''}"


def _declaration_problem(declared: Sequence[tuple[str, Any]]) -> str:
    """Returns the first problem of the declarations (slot, component) of one plugin, else an empty string."""
    seen: set[tuple[str, str]] = set()
    for slot, component in declared:
        if not isinstance(component, Component):
            return f"{slot}: expected a Component, got {type(component).__name__}"
        if not isinstance(component.name, str) or not _NAME.fullmatch(component.name):
            return f"component name {component.name!r}: use letters, digits and underscores, a letter first"
        if (slot, component.name) in seen:
            return f"{slot} {component.name!r} is defined twice"
        seen.add((slot, component.name))
        if not isinstance(component.params, type) or not issubclass(component.params, BaseModel):
            return f"{component.name}: params is {component.params!r}, expected a subclass of blear.contracts.Params"
        fields = component.params.model_fields
        if undescribed := [key for key, field in fields.items() if not field.description]:
            return f"{component.name}: parameters without a description: {', '.join(undescribed)}"
        if reserved := sorted(RESERVED_KEYS[slot] & fields.keys()):
            return f"{component.name}: {reserved[0]!r} is a key of every {slot} in a job; rename the parameter"
    return ""
