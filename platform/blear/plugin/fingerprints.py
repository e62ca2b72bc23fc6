"""Fingerprints of components. All workers of a job must have the driver's fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from blear.errors import PluginError
from blear.plugin.catalog import Catalog


def component_fingerprints(catalog: Catalog, names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Returns full name -> "version:digest" for each (slot, name).

    The version is that of the plugin; the digest covers the JSON schema of the component's parameters.

    Raises:
        PluginError: a component is unknown.
    """
    found = {}
    for slot, name in names:
        registered = catalog.get(slot, name)
        schema = json.dumps(registered.component.params.model_json_schema(), sort_keys=True)
        found[registered.name] = f"{registered.plugin.version}:{hashlib.sha256(schema.encode()).hexdigest()[:12]}"
    return found


def check_fingerprints(
    expected: Mapping[str, str], catalog: Catalog, names: Iterable[tuple[str, str]], place: str
) -> None:
    """Compares the components of this process with fingerprints from the process that started the job.

    Args:
        expected: full name -> fingerprint, from `component_fingerprints` where the job was started.
        catalog: the plugins of this process.
        names: (slot, name) of each component to compare.
        place: name of this process in messages, for instance "node 10.0.0.7".

    Raises:
        PluginError: a component is missing here, or has another version or other parameters.
    """
    for slot, name in names:
        plugin, do = name.split("/")[0], "install one version everywhere; `blear submit` sends local plugins along"
        try:
            ((full, here),) = component_fingerprints(catalog, [(slot, name)]).items()
        except PluginError as error:
            raise PluginError(f"{place} lacks plugin {plugin}: {error.what}", name, do) from error
        if expected.get(full, here) != here:
            versions = [text.split(":")[0] for text in (expected[full], here)]
            what = f"version {versions[0]} where the job was started, {versions[1]} on {place}"
            if versions[0] == versions[1]:
                what = f"version {versions[0]} has other parameters on {place} than where the job was started"
            raise PluginError(f"plugin {plugin} differs: {what}", name, do)
