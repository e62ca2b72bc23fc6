"""Resolves the names and paths of a job, section by section."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blear.errors import DataError, JobError
from blear.job.component_names import ComponentNames
from blear.job.document import Document, Where
from blear.job.paths import absolute, matches_template, unknown_name, windows_hint
from blear.job.reference_errors import read_errors
from blear.job.schema import BackboneUse, Data, FallbackData, HeadUse, Sweep, WeightedHeadUse
from blear.plugin.catalog import Catalog
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import Use
from blear.storage.file_digest import file_digest
from blear.storage.remote import RemoteFolder, is_url


def resolve(document: Document) -> tuple[dict[str, Any], Catalog]:
    """Returns the job's data with full component names and absolute paths, and the plugins that it uses.

    Every reference is checked and every problem is added to the document. A section with problems does not keep the
    other sections from being checked; values of a wrong type are left for the validation by the schema.
    """
    raw = document.data
    given = raw.get("plugins")
    valid = given if isinstance(given, list) and all(isinstance(name, str) for name in given) else []
    files = [str(absolute(document.file.parent / name)) for name in valid]
    catalog = load_plugins(tuple(files))
    resolver = _Resolver(document, catalog)
    resolved = copy.deepcopy(raw)
    if files:
        resolved["plugins"] = files
    sections = {key: value if isinstance(value := raw.get(key), dict) else {} for key in ("data", "stages")}
    for name, entry in sections["data"].items():
        resolved["data"][name] = resolver.data(entry, ("data", name))
    earlier: list[str] = []
    for name, entry in sections["stages"].items():
        if isinstance(entry, dict):
            resolved["stages"][name] = resolver.stage(entry, ("stages", name), sections["data"], earlier)
        earlier.append(name)
    if isinstance(evaluate := raw.get("evaluate"), dict):
        resolved["evaluate"] = resolver.evaluate(evaluate, ("evaluate",), sections["data"], sections["stages"])
    return resolved, catalog


class _Resolver:
    """Resolves one section at a time. Each method takes raw data and its path, and returns the resolved data."""

    def __init__(self, document: Document, catalog: Catalog) -> None:
        self.document = document
        self.components = ComponentNames(document, catalog)

    def data(self, raw: Any, where: Where) -> Any:
        """Resolves an entry of `data`."""
        if not isinstance(raw, dict):
            return raw
        raw = dict(raw)
        source, shards, stand_in = raw.get("source"), raw.get("shards"), raw.get("stand_in")
        if isinstance(source, str):
            raw["source"] = self.source(source, (*where, "source"))
        if isinstance(shards, str):
            raw["shards"] = self.shards(shards, (*where, "shards"))
        if "degrade_once" in raw:
            raw["degrade_once"] = self.components.offline_degradations(raw["degrade_once"], (*where, "degrade_once"))
        if isinstance(stand_in, dict):
            stand_in = self.components.use("dataset", FallbackData, stand_in, (*where, "stand_in"))
            raw["stand_in"] = stand_in | {
                key: self.components.degradations(stand_in[key], (*where, "stand_in", key))
                for key in ("augment", "degrade")
                if key in stand_in
            }
        replaced = source is None and (shards is not None or stand_in is not None)
        if replaced and self.components.has_parameter("dataset", raw.get("use"), "source"):
            source = "."  # a placeholder, so that the other parameters can be checked; it is never read
        return self.components.use("dataset", Data, raw, where, {} if source is None else {"source": source})

    def source(self, source: str, where: Where) -> str:
        """Resolves the raw data: a path becomes absolute; URLs and patterns are left to the dataset.

        A pattern has braces, wildcards or `::` between several parts, for instance `train-{000..146}.tar`.
        """
        if is_url(source):
            return source
        if re.search(r"[{}*]|::", source) and not Path(source).expanduser().exists():
            return "::".join(part if is_url(part) else str(absolute(Path(part))) for part in source.split("::"))
        path = absolute(Path(source))
        if not path.exists():
            self.document.problem(where, f"no such file or folder: {source}{windows_hint(source)}")
        return str(path)

    def shards(self, place: str, where: Where) -> str:
        """Resolves a folder or URL of prepared shards: a folder becomes absolute; a URL is checked but not opened."""
        if is_url(place):
            try:
                return RemoteFolder.parse(place).url
            except DataError as error:
                self.document.problem(where, f"{error.what}; {error.do}")
                return place
        path = absolute(Path(place))
        if not (path / "dataset.json").is_file():
            self.document.problem(
                where, f"not a folder of prepared shards (no dataset.json in it): {place}{windows_hint(place)}"
            )
        return str(path)

    def stage(
        self, raw: dict[str, Any], where: Where, data: Mapping[str, Any], earlier: Sequence[str]
    ) -> dict[str, Any]:
        """Resolves an entry of `stages`; `earlier` names the stages before it."""
        raw = dict(raw)
        if isinstance(raw.get("data"), str) and raw["data"] not in data:
            self.document.problem((*where, "data"), unknown_name("data", raw["data"], data))
        validate = raw.get("validate")
        if isinstance(validate, dict) and isinstance(other := validate.get("data"), str) and other not in data:
            self.document.problem((*where, "validate", "data"), unknown_name("data", other, data))
        for key in ("augment", "degrade"):
            if key in raw:
                raw[key] = self.components.degradations(raw[key], (*where, key))
        if "backbone" in raw:
            raw["backbone"] = self.network("backbone", BackboneUse, raw["backbone"], (*where, "backbone"), earlier)
        if "head" in raw and raw["head"] is not None:
            raw["head"] = self.network("head", HeadUse, raw["head"], (*where, "head"), earlier)
        if isinstance(teacher := raw.get("teacher"), dict):
            raw["teacher"] = self.teacher(teacher, (*where, "teacher"), earlier)
        if isinstance(heads := raw.get("heads"), dict):
            raw["heads"] = {
                name: self.network("head", WeightedHeadUse, head, (*where, "heads", name), earlier)
                for name, head in heads.items()
            }
        if isinstance(start := raw.get("start_from"), dict):
            raw["start_from"] = self.start_from(start, (*where, "start_from"), earlier, self.part_tables(raw))
        return raw

    def teacher(self, raw: dict[str, Any], where: Where, earlier: Sequence[str]) -> dict[str, Any]:
        """Resolves the teacher of a stage."""
        raw = dict(raw)
        for slot, model in (("backbone", Use), ("head", HeadUse)):
            if slot in raw:
                raw[slot] = self.components.use(slot, model, raw[slot], (*where, slot))
        stage = raw.get("stage")
        if isinstance(stage, str) and stage not in earlier:
            self.document.problem((*where, "stage"), unknown_name("earlier stage", stage, earlier))
        return self.weights(raw, where) if isinstance(raw.get("file"), str) else raw

    def network(self, slot: str, model: type[Use], raw: Any, where: Where, earlier: Sequence[str]) -> Any:
        """Resolves a backbone or head and its `start_from`."""
        resolved = self.components.use(slot, model, raw, where)
        if not isinstance(resolved, dict) or not isinstance(start := resolved.get("start_from"), dict):
            return resolved
        tables = self.tables(slot, resolved.get("use"))
        return resolved | {"start_from": self.start_from(start, (*where, "start_from"), earlier, tables)}

    def start_from(
        self, raw: dict[str, Any], where: Where, earlier: Sequence[str], tables: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Any]:
        """Resolves the source of initial weights of a component or of a whole stage.

        Args:
            tables: name -> rename table that `rename` may name.
        """
        stage, table = raw.get("stage"), raw.get("rename")
        if isinstance(stage, str) and stage not in earlier:
            self.document.problem((*where, "stage"), unknown_name("earlier stage", stage, earlier))
        if isinstance(table, str):
            if table not in tables:
                self.document.problem((*where, "rename"), unknown_name("rename table", table, list(tables)))
            raw = raw | {"rename": dict(tables.get(table, {}))}
        return self.weights(raw, where) if isinstance(raw.get("file"), str) else raw

    def tables(self, slot: str, use: Any) -> Mapping[str, Mapping[str, str]]:
        """The rename tables of a component: name -> table."""
        known = self.components.catalog.components[slot].get(use) if isinstance(use, str) else None
        return {} if known is None else known.component.rename_tables

    def part_tables(self, raw: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """The rename tables of a whole stage: name -> the tables of this name of its backbone and heads together.

        The new names have the prefix of the part: `backbone.`, `head.` or `head.NAME.`.
        """
        heads = given if isinstance(given := raw.get("heads"), dict) else {}
        parts = {"backbone": raw.get("backbone"), "head": raw.get("head")}
        parts |= {f"head.{name}": head for name, head in heads.items()}
        combined: dict[str, dict[str, str]] = {}
        for part, component in parts.items():
            if isinstance(component, dict):
                tables = self.tables("backbone" if part == "backbone" else "head", component.get("use"))
                for name, table in tables.items():
                    for pattern, new in table.items():
                        combined.setdefault(name, {}).setdefault(pattern, f"{part}.{new}")
        return combined

    def weights(self, start: dict[str, Any], where: Where) -> dict[str, Any]:
        """Adds the absolute path and the digest of a weights file; a resumed run compares the digest."""
        given = start["file"]
        path = absolute(Path(given) if given.startswith("~") else self.document.file.parent / given)
        if not path.is_file():
            self.document.problem(
                (*where, "file"), f"no such file: {given} (relative to the job file){windows_hint(given)}"
            )
            return start
        try:
            found = file_digest(path)
        except DataError as error:
            self.document.problem((*where, "file"), error.what)
            return start
        expected = start.get("sha256")
        if expected is not None and expected != found:
            self.document.problem((*where, "sha256"), f"the file is another one: its SHA-256 is {found}")
        return start | {"file": str(path), "sha256": found}

    def evaluate(
        self, raw: dict[str, Any], where: Where, data: Mapping[str, Any], stages: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Resolves the section `evaluate`."""
        raw = dict(raw)
        if isinstance(raw.get("data"), str) and raw["data"] not in data:
            self.document.problem((*where, "data"), unknown_name("data", raw["data"], data))
        if isinstance(sweep := raw.get("sweep"), dict):
            raw["sweep"] = self.sweep(sweep, (*where, "sweep"))
        elif isinstance(sweep, list):
            place = (*where, "sweep")
            raw["sweep"] = [self.sweep(s, (*place, i)) if isinstance(s, dict) else s for i, s in enumerate(sweep)]
        if isinstance(mce := raw.get("mce"), str) and mce.endswith(".csv"):
            raw["mce"] = self.reference_errors(mce, (*where, "mce"))
        arms = raw.get("arms")
        if arms == {}:
            self.document.problem((*where, "arms"), "no arms; name at least one stage")
        for label, arm in arms.items() if isinstance(arms, dict) else ():
            for key in ("stage", "restore"):
                stage = arm.get(key) if isinstance(arm, dict) else None
                if isinstance(stage, str) and not any(matches_template(stage, str(name)) for name in stages):
                    self.document.problem((*where, "arms", label, key), unknown_name("stage", stage, stages))
        return raw

    def reference_errors(self, given: str, where: Where) -> Any:
        """Replaces the path of a CSV file by its error rates, so that the resolved job does not depend on the file."""
        try:
            return read_errors(absolute(self.document.file.parent / given))
        except JobError as error:
            self.document.problem(where, error.what)
            return None

    def sweep(self, raw: dict[str, Any], where: Where) -> Any:
        """Resolves a swept degradation, checked at each of its values, and the degradations before and after it."""
        names = self.components
        raw = raw | {key: names.degradations(raw[key], (*where, key)) for key in ("before", "after") if key in raw}
        over = raw.get("over")
        if not isinstance(over, dict):
            return names.use("degradation", Sweep, raw, where)
        if len(over) != 1 or not all(isinstance(values, list) and values for values in over.values()):
            return raw  # the schema names the problem
        ((parameter, values),) = over.items()
        return [names.use("degradation", Sweep, raw, where, {parameter: value}) for value in values][-1]
