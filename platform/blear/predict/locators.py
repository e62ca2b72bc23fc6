"""Finds the locator (face detector) that a person names, or the default one."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from blear.contracts import BuildContext, Locator
from blear.errors import PluginError
from blear.plugin.catalog import Catalog, RegisteredComponent


def find_locator(
    name: str | None,
    catalog: Catalog,
    params: Mapping[str, Any] | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> Callable[[], Locator]:
    """A function that builds a locator.

    Args:
        name: full or short name of a registered locator; or `module:attr`, which is called without arguments; None: see
            `default_locator`.
        params: parameters of a registered locator that differ from the defaults; parameters that it does not have are
            left out.
        chosen: parameters that the user chose.

    Raises:
        PluginError: there is no such locator, a chosen parameter is wrong, or its module cannot be imported.
    """
    if name is not None and ":" in name:
        if chosen:
            do = "name a registered locator, or leave the parameters out"
            raise PluginError("it is called without parameters", name, do)
        return _import_builder(name)
    registered = default_locator(catalog) if name is None else catalog.get("locator", name)
    given = {key: value for key, value in (params or {}).items() if key in registered.component.params.model_fields}
    given |= chosen or {}
    registered.checked_params(given)
    return lambda: registered.build(given, BuildContext())


def default_locator(catalog: Catalog) -> RegisteredComponent:
    """The first locator of the distribution `blear`; where it has none, the only locator of other plugins.

    Raises:
        PluginError: no locator is installed, or several are and none comes with `blear`.
    """
    known = list(catalog.components["locator"].values())
    own = [registered for registered in known if registered.plugin.first_party]
    if own or len(known) == 1:
        return (own or known)[0]
    if not known:
        raise PluginError("no face locator is installed", do="install a plugin that registers one, or give --boxes")
    names = ", ".join(registered.name for registered in known)
    raise PluginError(f"several face locators are installed: {names}", do="choose one with --locator")


def _import_builder(name: str) -> Callable[[], Locator]:
    module, _, attribute = name.partition(":")
    try:
        builder: Any = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        do = "give the name of a registered locator (see `blear plugins`), module:attr, or --boxes"
        raise PluginError(f"the face locator {name!r} cannot be imported: {error}", do=do) from error
    return lambda: builder()
