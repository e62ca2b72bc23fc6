"""Resolves the component names of a job and checks the components' parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blear.errors import JobError, PluginError
from blear.job.document import Document, Where, validate
from blear.job.paths import absolute
from blear.plugin.catalog import Catalog
from blear.plugin.path_params import path_params
from blear.plugin.uses import ENTRY_GROUPS, DegradationUse, Use
from blear.storage.remote import is_url


@dataclass
class ComponentNames:
    """Replaces component names by full names; unknown names and wrong parameters become problems of the document.

    Values of a wrong type are returned as they are: the validation of the job by its schema reports them.
    """

    document: Document
    catalog: Catalog

    def use(self, slot: str, model: type[Use], raw: Any, where: Where, extra: Mapping[str, Any] | None = None) -> Any:
        """Resolves one component and checks its parameters.

        Args:
            slot: the component's slot.
            model: the model of this part of the job; its fields are not parameters of the component.
            raw: the part of the job, `{use: NAME, parameter: value, ...}`.
            where: path of this part in the job.
            extra: parameters that the job gives in another place.
        """
        own = {field.alias or name for name, field in model.model_fields.items()}
        use = raw.get("use") if isinstance(raw, dict) else None
        if not isinstance(use, str):
            return raw
        try:
            registered = self.catalog.get(slot, use)
        except PluginError as error:
            self.document.problem((*where, "use"), f"{error.what}; {error.do}" if error.do else error.what)
            return raw
        fields = registered.component.params.model_fields
        if model is DegradationUse:
            own -= {"p"} & fields.keys()  # `p` belongs to the component if it has such a parameter
        params = {key: value for key, value in raw.items() if key not in own} | dict(extra or {})
        validate(self.document, registered.component.params, params, where)
        places = path_params(registered.component.params) & raw.keys() - own  # the resolver has resolved `source`
        paths = {key: self._absolute(raw[key], (*where, key)) for key in places}
        return raw | {"use": registered.name} | paths

    def degradations(self, raw: Any, where: Where) -> Any:
        """Resolves a list of degradations."""
        if not isinstance(raw, list):
            return raw
        return [self._entry(item, (*where, index)) for index, item in enumerate(raw)]

    def offline_degradations(self, raw: Any, where: Where) -> Any:
        """Resolves `degrade_once`. Shards have clips of one size, so degradations must not change it."""
        resolved = self.degradations(raw, where)
        for place, entry in _all_entries(resolved, where):
            full = entry.get("use")
            known = self.catalog.components["degradation"].get(full) if isinstance(full, str) else None
            if known is not None and known.attribute("for_evaluation") is not None:
                text = f"{full} changes the size of clips; name it in a stage's `augment`"
                self.document.problem((*place, "use"), text)
        return resolved

    def has_parameter(self, slot: str, use: Any, parameter: str) -> bool:
        """Whether a component exists and has this parameter."""
        try:
            return isinstance(use, str) and parameter in self.catalog.get(slot, use).component.params.model_fields
        except PluginError:  # becomes a problem of the document in `use`
            return False

    def _absolute(self, value: Any, where: Where) -> Any:
        """Makes the paths in the value of a parameter absolute; URLs stay."""
        if isinstance(value, dict):
            return {key: self._absolute(one, (*where, key)) for key, one in value.items()}
        if isinstance(value, list):
            return [self._absolute(one, (*where, index)) for index, one in enumerate(value)]
        if not isinstance(value, str) or is_url(value):
            return value
        try:
            return str(absolute(Path(value)))
        except JobError as error:
            self.document.problem(where, f"{error.what}; {error.do}")
            return value

    def _entry(self, raw: Any, where: Where) -> Any:
        for group in ENTRY_GROUPS:
            if isinstance(raw, dict) and group.key in raw:
                return raw | {group.key: self.degradations(raw[group.key], (*where, group.key))}
        return self.use("degradation", DegradationUse, raw, where)


def _all_entries(raw: Any, where: Where) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Iterates over the entries of a list of degradations and, recursively, of their groups, with their paths."""
    for index, entry in enumerate(raw if isinstance(raw, list) else ()):
        if isinstance(entry, dict):
            yield (*where, index), entry
            for group in ENTRY_GROUPS:
                yield from _all_entries(entry.get(group.key), (*where, index, group.key))
