"""The check of a plugin as a whole: it declares its components without importing torch."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator

from blear.plugin.catalog import Plugin
from blear.plugin.conformance.checks import Check, NotCheckedError, expect

_LOAD = """
import sys, traceback
from importlib.metadata import entry_points
from blear import hooks

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            frames = [f for f in traceback.extract_stack()[:-1] if "importlib" not in f.filename]
            print(f"{frames[-1].filename}:{frames[-1].lineno}")
            sys.exit(3)

sys.meta_path.insert(0, Finder())
points = list(entry_points(group="blear", name=sys.argv[1]))
for point in points:
    module = point.load()
    for hook in hooks.SLOTS.values():
        getattr(module, hook, list)()
sys.exit(0 if points else 4)
"""
_TORCH, _NOT_INSTALLED = 3, 4  # exit codes of `_LOAD`


def loading_checks(plugin: Plugin) -> Iterator[Check]:
    """Iterates over the checks of a plugin's module and hooks.

    A one-file plugin has none: only jobs that name it load it.
    """
    if plugin.origin.endswith(".py"):
        return
    yield Check(plugin.name, 0, "declares its components without torch", functools.partial(_without_torch, plugin))


def _without_torch(plugin: Plugin) -> None:
    """Loads the plugin in a new process. Every command loads all plugins; torch would add seconds to each."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _LOAD, plugin.name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode == _NOT_INSTALLED:
        raise NotCheckedError("the plugin is not installed")
    got = f"`import torch` at {done.stdout.strip()}" if done.returncode == _TORCH else done.stderr.strip()
    expected = "declarations without torch: give `build` as a string, as `blear plugins new` does"
    expect(done.returncode == 0, "the plugin's module and hooks", expected, got)
