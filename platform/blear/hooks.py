"""The hooks with which a plugin registers its components.

A plugin is a module that defines `PLUGIN_API` and implements any of the five hooks:

    from blear.hooks import hookimpl
    from blear.contracts import Component

    PLUGIN_API = 1

    @hookimpl
    def register_backbones() -> list[Component]:
        return [Component("tiny", "Two convolutions", TinyParams, "my_plugin.models:Tiny")]

The platform finds it through the entry-point group `blear` of an installed distribution, or as a file that a job names:
`plugins: [./my_plugin.py]`. Each hook is called once when plugins are loaded, has no arguments, and returns a list of
declarations. It must be fast: import torch only in the modules that `build` names.
"""

from __future__ import annotations

import pluggy

from blear.contracts import Component

PLUGIN_API = 1
"""Version of the plugin API. A plugin sets it to the version for which it was written."""

hookspec = pluggy.HookspecMarker("blear")
hookimpl = pluggy.HookimplMarker("blear")


@hookspec
def register_datasets() -> list[Component]:  # type: ignore[empty-body]
    """Returns datasets: readers of raw data, used when shards are written. Each builds a `contracts.Dataset`."""


@hookspec
def register_degradations() -> list[Component]:  # type: ignore[empty-body]
    """Returns degradations: batched operations on frames. Each builds a `contracts.Degradation`."""


@hookspec
def register_backbones() -> list[Component]:  # type: ignore[empty-body]
    """Returns backbones: modules that map frames to named features. Each builds a `contracts.Backbone`."""


@hookspec
def register_heads() -> list[Component]:  # type: ignore[empty-body]
    """Returns heads: modules that map features to outputs, with loss and metrics. Each builds a `contracts.Head`."""


@hookspec
def register_locators() -> list[Component]:  # type: ignore[empty-body]
    """Returns locators: face detectors for prediction and for datasets. Each builds a `contracts.Locator`."""


SLOTS = {
    "dataset": "register_datasets",
    "degradation": "register_degradations",
    "backbone": "register_backbones",
    "head": "register_heads",
    "locator": "register_locators",
}
"""Slot -> the hook that registers its components."""
