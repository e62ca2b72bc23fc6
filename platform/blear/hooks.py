"""The extension API on one page. A plugin is a module that implements any of these five hooks and states `PLUGIN_API`.

    from blear.hooks import hookimpl
    from blear.contracts import Component

    PLUGIN_API = 1

    @hookimpl
    def register_backbones() -> list[Component]:
        return [Component("tiny", "Two convolutions", TinyParams, "my_plugin.models:Tiny")]

It is found through the entry-point group `blear` of its distribution, or named as a file in a job:
`plugins: [./my_plugin.py]`. Hooks are called once at start-up, take nothing, must be cheap (no torch import), and every
plugin's answer is collected.
"""

from __future__ import annotations

import pluggy

from blear.contracts import Component

PLUGIN_API = 1
"""The version of this page; a plugin states the one it was written for."""

hookspec = pluggy.HookspecMarker("blear")
hookimpl = pluggy.HookimplMarker("blear")


@hookspec
def register_datasets() -> list[Component]:  # type: ignore[empty-body]
    """Datasets: readers of a raw layout, run only by `blear prepare`; each builds a `contracts.Dataset`."""


@hookspec
def register_degradations() -> list[Component]:  # type: ignore[empty-body]
    """Degradations: batched operations on frames on the device; each builds a `contracts.Degradation`."""


@hookspec
def register_backbones() -> list[Component]:  # type: ignore[empty-body]
    """Backbones: modules from frames to named features; each builds a `contracts.Backbone`."""


@hookspec
def register_heads() -> list[Component]:  # type: ignore[empty-body]
    """Heads: modules from features to outputs, with loss, metrics and decoding; each builds a `contracts.Head`."""


@hookspec
def register_locators() -> list[Component]:  # type: ignore[empty-body]
    """Locators: face detectors, used by prediction and by dataset readers; each builds a `contracts.Locator`."""


SLOTS = {
    "dataset": "register_datasets",
    "degradation": "register_degradations",
    "backbone": "register_backbones",
    "head": "register_heads",
    "locator": "register_locators",
}
"""Slot name -> hook that fills it."""
