"""A component that is sent to another process: names and parameters instead of objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blear.contracts import BuildContext
from blear.plugin.discovery import load_plugins


@dataclass(frozen=True)
class ComponentRef:
    """A picklable reference to a component and its parameters.

    Attributes:
        plugin_files: the one-file plugins of the job; the receiving process loads them before it builds.
    """

    slot: str
    name: str
    params: Mapping[str, Any]
    plugin_files: tuple[str, ...] = ()

    def build(self, context: BuildContext) -> Any:
        """Loads the plugins in this process and builds the component.

        Raises:
            PluginError: the component is unknown here, or cannot be built.
        """
        return load_plugins(self.plugin_files).get(self.slot, self.name).build(self.params, context)
