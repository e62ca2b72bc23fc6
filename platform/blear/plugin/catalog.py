"""Finds plugins, names their components, looks components up, and says clearly what is wrong with any of it.

pluggy's own entry-point loader skips a second distribution of the same name in silence, loses everything to one broken
import, and does not see a misspelt hook; this one reports each.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.util
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from pydantic import ValidationError

from blear import hooks
from blear.contracts import BuildContext, Component, Params
from blear.errors import PluginError
from blear.plugin.uses import RESERVED

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Plugin:
    """A plugin that loaded, or the reason why it did not (`problem`)."""

    name: str
    origin: str
    version: str
    problem: str = ""


@dataclass(frozen=True)
class Registered:
    """A component with its full name and plugin."""

    slot: str
    name: str
    component: Component
    plugin: Plugin

    def params(self, given: Mapping[str, Any]) -> Params:
        """Validated parameters; pydantic's `ValidationError` passes through."""
        return self.component.params.model_validate(dict(given))

    def build(self, given: Mapping[str, Any], context: BuildContext) -> Any:
        """Builds the component.

        Raises:
            PluginError: the parameters are wrong, or `build` names a module or attribute that is not there.
        """
        try:
            params = self.params(given)
        except ValidationError as error:
            raise PluginError(str(error), self.name, f"see `blear plugins show {self.name}`") from error
        return self._builder()(params, context)

    def attribute(self, name: str) -> Any:
        """An attribute of the class that `build` makes, without making one; None where it has none."""
        return getattr(self._builder(), name, None)

    def _builder(self) -> Any:
        build = self.component.build
        if not isinstance(build, str):
            return build
        module, _, attribute = build.partition(":")
        try:
            return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
        except (ImportError, AttributeError) as error:
            raise PluginError(
                f"build {build!r} cannot be imported: {error}",
                self.name,
                f"mend or reinstall plugin {self.plugin.name}",
            ) from error


@dataclass(frozen=True)
class Catalog:
    """Every plugin found and every component that they registered."""

    plugins: tuple[Plugin, ...]
    components: Mapping[str, Mapping[str, Registered]]  # slot -> full name -> component

    def get(self, slot: str, name: str) -> Registered:
        """The component of `slot` by full name, or by short name while that is unique.

        Raises:
            PluginError: not there, ambiguous, or its plugin did not load; with candidates.
        """
        known = self.components[slot]
        if name in known:
            return known[name]
        short = [full for full in known if full.split("/")[1] == name]
        if len(short) == 1:
            return known[short[0]]
        if short:
            raise PluginError(f"{slot} {name!r} is ambiguous: {', '.join(short)}", do="write the full name")
        broken = [p for p in self.plugins if p.problem and p.name == name.split("/")[0]]
        if broken:
            raise PluginError(f"{slot} {name!r}: its plugin did not load: {broken[0].problem}", broken[0].origin)
        elsewhere = [other for other in self.components if other != slot and name in self._names(other)]
        if elsewhere:
            raise PluginError(f"{name!r} is a {elsewhere[0]}, not a {slot}", do=f"known: {', '.join(known)}")
        close = difflib.get_close_matches(name, self._names(slot), n=3)
        advice = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
        problems = [f"{p.name} ({p.problem})" for p in self.plugins if p.problem]
        if problems:
            advice += f"; plugins that did not load: {', '.join(problems)}"
        raise PluginError(f"there is no {slot} {name!r}", do=advice)

    def _names(self, slot: str) -> list[str]:
        return [*self.components[slot], *(full.split("/")[1] for full in self.components[slot])]


@dataclass(frozen=True)
class ComponentRef:
    """A component with its parameters that survives a trip to another process, one-file plugins included."""

    slot: str
    name: str
    params: Mapping[str, Any]
    plugin_files: tuple[str, ...] = ()

    def build(self, context: BuildContext) -> Any:
        """Loads the plugins in this process and builds the component."""
        return load(self.plugin_files).get(self.slot, self.name).build(self.params, context)


@functools.lru_cache(maxsize=8)
def load(files: tuple[str, ...] = ()) -> Catalog:
    """Discovers installed plugins and the given one-file plugins. Cached: plugins do not change under a process."""
    collected = _Collected()
    by_name: dict[str, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group="blear"):
        by_name[point.name].append(point)
    for name in sorted(by_name):
        collected.add_entry_points(name, by_name[name])
    for file in files:
        collected.add_file(Path(file))
    return Catalog(tuple(collected.plugins), collected.components)


def fingerprint(catalog: Catalog, names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Full name -> plugin version and digest of the parameters' schema, for each (slot, full name)."""
    found = {}
    for slot, name in names:
        registered = catalog.get(slot, name)
        schema = json.dumps(registered.component.params.model_json_schema(), sort_keys=True)
        found[registered.name] = f"{registered.plugin.version}:{hashlib.sha256(schema.encode()).hexdigest()[:12]}"
    return found


def check_same(wanted: Mapping[str, str], catalog: Catalog, names: Iterable[tuple[str, str]], place: str) -> None:
    """Compares this process's components with the fingerprints that were taken where the job was started.

    Raises:
        PluginError: a component is missing, or of another version or schema; names the plugin, both, and `place`.
    """
    for slot, name in names:
        plugin, do = name.split("/")[0], "install one version everywhere; `blear submit` sends local plugins along"
        try:
            ((full, here),) = fingerprint(catalog, [(slot, name)]).items()
        except PluginError as error:
            raise PluginError(f"{place} lacks plugin {plugin}: {error.what}", name, do) from error
        if wanted.get(full, here) != here:
            versions = [text.split(":")[0] for text in (wanted[full], here)]
            what = f"version {versions[0]} where the job was started, {versions[1]} on {place}"
            if versions[0] == versions[1]:
                what = f"other parameters of one version, {versions[0]}, where the job was started and on {place}"
            raise PluginError(f"plugin {plugin} differs: {what}", name, do)


class _Collected:
    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.components: dict[str, dict[str, Registered]] = {slot: {} for slot in hooks.SLOTS}

    def add_entry_points(self, name: str, points: Sequence[EntryPoint]) -> None:
        origins = sorted({f"{p.dist.name} {p.dist.version}" for p in points if p.dist is not None})
        version = points[0].dist.version if points[0].dist is not None else "unknown"
        plugin = Plugin(name, " and ".join(origins), version)
        if len(origins) > 1 or len({p.value for p in points}) > 1:
            self._refuse(plugin, f"two distributions register the plugin name {name!r}; uninstall one of them")
            return
        try:
            module = points[0].load()
        except Exception as error:  # noqa: BLE001  a stranger's import may raise anything; it is reported, never hidden
            self._refuse(plugin, f"import failed: {type(error).__name__}: {error}")
            return
        self._register(plugin, module)

    def add_file(self, file: Path) -> None:
        plugin = Plugin(file.stem, str(file), "file")
        if not file.is_file():
            self._refuse(plugin, "no such file")
            return
        if any(p.name == plugin.name for p in self.plugins):
            self._refuse(plugin, f"an installed plugin is already named {plugin.name!r}; rename the file")
            return
        spec = importlib.util.spec_from_file_location(file.stem, file)
        if spec is None or spec.loader is None:
            self._refuse(plugin, "not a Python file")
            return
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module  # so that its classes pickle and `build` strings resolve
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # noqa: BLE001  as above
            sys.modules.pop(file.stem, None)
            self._refuse(plugin, f"import failed: {type(error).__name__}: {error}")
            return
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        self._register(Plugin(plugin.name, plugin.origin, digest), module)

    def _refuse(self, plugin: Plugin, problem: str) -> None:
        self.plugins.append(Plugin(plugin.name, plugin.origin, plugin.version, problem))

    def _register(self, plugin: Plugin, module: ModuleType) -> None:
        api = getattr(module, "PLUGIN_API", None)
        if api != hooks.PLUGIN_API:
            self._refuse(
                plugin, f"states PLUGIN_API = {api}, this blear has {hooks.PLUGIN_API}; install a matching version"
            )
            return
        manager = pluggy.PluginManager("blear")
        manager.add_hookspecs(hooks)
        try:
            manager.register(module, plugin.name)
            manager.check_pending()
            found = [
                Registered(slot, f"{plugin.name}/{component.name}", component, plugin)
                for slot, hook in hooks.SLOTS.items()
                for answer in getattr(manager.hook, hook)()
                for component in answer
            ]
        except pluggy.PluginValidationError as error:
            close = [difflib.get_close_matches(word, hooks.SLOTS.values(), n=1) for word in _hook_names(module)]
            meant = ", ".join(name for names in close for name in names)
            self._refuse(
                plugin,
                f"{error}; the hooks are {', '.join(hooks.SLOTS.values())}{'; meant: ' + meant if meant else ''}",
            )
            return
        except Exception as error:  # noqa: BLE001  as above
            self._refuse(plugin, f"registration failed: {type(error).__name__}: {error}")
            return
        problem = self._problem(found)
        if problem:
            self._refuse(plugin, problem)
            return
        self.plugins.append(plugin)
        for registered in found:
            self.components[registered.slot][registered.name] = registered

    def _problem(self, found: Sequence[Registered]) -> str:
        seen: set[tuple[str, str]] = set()
        for registered in found:
            component = registered.component
            if not isinstance(component, Component):
                return f"{registered.slot}: expected a Component, got {type(component).__name__}"
            if not _NAME.fullmatch(component.name):
                return f"component name {component.name!r}: use lower-case letters, digits and underscores"
            if (registered.slot, component.name) in seen:
                return f"{registered.slot} {component.name!r} is defined twice"
            seen.add((registered.slot, component.name))
            bare = [key for key, field in component.params.model_fields.items() if not field.description]
            if bare:
                return f"{component.name}: parameters without a description: {', '.join(bare)}"
            taken = sorted(RESERVED & component.params.model_fields.keys()) if registered.slot == "degradation" else []
            if taken:
                return f"{component.name}: a job's lists of degradations have the key {taken[0]!r} already; rename it"
        return ""


def _hook_names(module: ModuleType) -> list[str]:
    return [name for name in vars(module) if name.startswith("register")]
