"""The installed plugins and their components, and the look-up of a component by name."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from blear.contracts import BuildContext, Component, Params
from blear.errors import PluginError


@dataclass(frozen=True)
class Plugin:
    """One installed plugin.

    Attributes:
        name: the name of its entry point, or the stem of a one-file plugin.
        origin: distribution and version, or the path of a one-file plugin.
        version: the version of the distribution, or a digest of a one-file plugin.
        problem: why the plugin could not be loaded; empty for a plugin that was loaded.
    """

    name: str
    origin: str
    version: str
    problem: str = ""

    @property
    def first_party(self) -> bool:
        """Whether the distribution `blear` itself ships the plugin."""
        return self.origin.split(" ")[0] == "blear"


@dataclass(frozen=True)
class RegisteredComponent:
    """A component with its slot, its full name `<plugin>/<component>` and its plugin."""

    slot: str
    name: str
    component: Component
    plugin: Plugin

    def params(self, given: Mapping[str, Any]) -> Params:
        """Validates parameters.

        Raises:
            pydantic.ValidationError: a parameter is unknown, missing or wrong.
        """
        return self.component.params.model_validate(dict(given))

    def checked_params(self, given: Mapping[str, Any]) -> Params:
        """Validates parameters that do not come from a job file.

        Raises:
            PluginError: parameters are unknown, missing or wrong; the message names each of them.
        """
        try:
            return self.params(given)
        except ValidationError as error:
            problems = "; ".join(map(self._problem, error.errors()))
            raise PluginError(problems, self.name, f"see `blear plugins show {self.name}`") from error

    def _problem(self, item: ErrorDetails) -> str:
        where, known = ".".join(map(str, item["loc"])), list(self.component.params.model_fields)
        if item["type"] == "missing":
            return f"parameter {where!r} is required, but not given"
        if item["type"] == "extra_forbidden" and len(item["loc"]) == 1:
            close = difflib.get_close_matches(where, known, n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
            return f"there is no parameter {where!r}; {advice}"
        return f"{where}: {item['msg']}, got {item['input']!r}" if where else item["msg"]

    def build(self, given: Mapping[str, Any], context: BuildContext) -> Any:
        """Builds the component.

        Raises:
            PluginError: a parameter is wrong, or `build` names a module or attribute that does not exist.
        """
        return self._builder()(self.checked_params(given), context)

    def attribute(self, name: str) -> Any:
        """Returns an attribute of the class that `build` names, without building it; None if there is none."""
        return getattr(self._builder(), name, None)

    def _builder(self) -> Any:
        build = self.component.build
        if not isinstance(build, str):
            return build
        module, _, attribute = build.partition(":")
        try:
            return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
        except Exception as error:  # the import of a third-party module may raise anything
            kind = "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
            raise PluginError(
                f"build {build!r} cannot be imported: {kind}{error}",
                self.name,
                f"fix or reinstall plugin {self.plugin.name}",
            ) from error


@dataclass(frozen=True)
class Catalog:
    """All plugins that were found, and their components.

    Attributes:
        plugins: the plugins, those that could not be loaded included.
        components: slot -> full name -> component.
    """

    plugins: tuple[Plugin, ...]
    components: Mapping[str, Mapping[str, RegisteredComponent]]

    def get(self, slot: str, name: str) -> RegisteredComponent:
        """Returns a component by its full name, or by its short name if only one plugin has that short name.

        Raises:
            PluginError: the name is unknown (the message suggests close names), ambiguous, of another slot, or belongs
                to a plugin that could not be loaded.
        """
        known = self.components[slot]
        if name in known:
            return self._only(known[name])
        short = [full for full in known if full.split("/")[1] == name]
        if len(short) == 1:
            return self._only(known[short[0]])
        if short:
            raise PluginError(f"{slot} {name!r} is ambiguous: {', '.join(short)}", do="write the full name")
        broken = [p for p in self.plugins if p.problem and p.name == name.split("/")[0]]
        if broken:
            raise PluginError(f"{slot} {name!r}: its plugin did not load: {broken[0].problem}", broken[0].origin)
        other_slots = [other for other in self.components if other != slot and name in self._names(other)]
        if other_slots:
            raise PluginError(f"{name!r} is a {other_slots[0]}, not a {slot}", do=f"known: {', '.join(known)}")
        close = difflib.get_close_matches(name, self._names(slot), n=3)
        advice = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
        problems = [f"{p.name} ({p.problem})" for p in self.plugins if p.problem]
        if problems:
            advice += f"; plugins that did not load: {', '.join(problems)}"
        raise PluginError(f"there is no {slot} {name!r}", do=advice)

    def _only(self, registered: RegisteredComponent) -> RegisteredComponent:
        """Returns a component unless another plugin of the same name did not load: the job may mean that one."""
        for plugin in self.plugins:
            if plugin.problem and plugin.name == registered.plugin.name:
                raise PluginError(f"{registered.slot} {registered.name!r}: {plugin.problem}", plugin.origin)
        return registered

    def _names(self, slot: str) -> list[str]:
        return [*self.components[slot], *(full.split("/")[1] for full in self.components[slot])]
