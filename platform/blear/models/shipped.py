"""Models that plugins ship: the folders `models/NAME` of their packages; and downloaded models.

A model needs no registration: the package of an installed plugin holds `models/NAME/card.json` and
`models/NAME/model.safetensors`, as `Model.save` writes them. No plugin is imported to find them.
"""

from __future__ import annotations

import difflib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from blear.errors import RunError
from blear.models.card import CARD_FILE, ModelCard, read_card
from blear.storage.root import storage_root

DOWNLOADED = "downloaded"
"""In place of a plugin's name: models in the folder `models` of the storage folder."""


@dataclass(frozen=True)
class ShippedModel:
    """A model in the package of a plugin.

    Attributes:
        name: full name, `<plugin>/<model>`.
        folder: the model's folder.
    """

    name: str
    folder: Path

    @property
    def short_name(self) -> str:
        """The name without the plugin's."""
        return self.name.split("/")[1]

    @property
    def card(self) -> ModelCard:
        """The model's card.

        Raises:
            RunError: it is damaged.
        """
        return read_card(self.folder / CARD_FILE)


def shipped_models() -> list[ShippedModel]:
    """Lists the models of all installed plugins, and those that `blear models get` downloaded, by name."""
    roots = [*package_folders_of_plugins(), (DOWNLOADED, storage_root())]
    found = {
        f"{plugin}/{card.parent.name}": card.parent
        for plugin, root in roots
        for card in sorted(root.glob(f"models/[!.]*/{CARD_FILE}"))
    }
    return [ShippedModel(name, found[name]) for name in sorted(found)]


def is_shipped(name: str) -> bool:
    """Whether an installed plugin ships a model of this name, or one was downloaded."""
    return any(name in (one.name, one.short_name) for one in shipped_models())


def package_folders_of_plugins() -> list[tuple[str, Path]]:
    """(name, folder of its package) of each installed plugin; no plugin is imported."""
    points = sorted(entry_points(group="blear"), key=lambda point: point.name)
    return [(point.name, root) for point in points for root in _package_folders(point.module)]


def default_model() -> ShippedModel:
    """Finds the model that is used where none is named.

    It is the only model in the distribution `blear`, or the only one of them whose card has `default`. If that
    distribution has no model, the same rule holds for the models of all plugins. Downloaded models are not considered.

    Raises:
        RunError: there is no such model, or there are several.
    """
    models = [model for model in shipped_models() if not model.name.startswith(f"{DOWNLOADED}/")]
    points = entry_points(group="blear")
    own = {point.name for point in points if point.dist is not None and point.dist.name == "blear"}
    candidates = [model for model in models if model.name.split("/")[0] in own] or models
    chosen = candidates if len(candidates) == 1 else [model for model in candidates if model.card.default]
    if len(chosen) != 1:
        names = ", ".join(model.name for model in candidates) or "none is installed"
        raise RunError("no model is named", "MODEL", f"name a run or a model, before the inputs; shipped: {names}")
    return chosen[0]


def find_model(name: str) -> ShippedModel:
    """Finds a shipped model by its name, or by its full name `<plugin>/<model>`.

    Raises:
        RunError: there is no such model, or several plugins have one.
    """
    models = shipped_models()
    matching = [model for model in models if name in (model.name, model.short_name)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        full = ", ".join(model.name for model in matching)
        raise RunError(f"several plugins ship a model {name!r}", do=f"write the full name: {full}")
    known = [model.short_name for model in models]
    close = difflib.get_close_matches(name, known, n=1)
    do = f"did you mean {close[0]!r}?" if close else f"shipped models: {', '.join(known) or 'none'}"
    raise RunError(f"no file, folder or shipped model {name!r}", do=f"{do}; or give a model or run folder")


def _package_folders(module: str) -> list[Path]:
    """The folders of a package; empty for a module, and for a package that is not installed."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
