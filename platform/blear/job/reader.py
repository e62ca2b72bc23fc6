"""Reads a job file: profiles, overrides, matrices, names; all errors at once with file:line:column and a suggestion."""

from __future__ import annotations

import copy
import difflib
import io
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from blear.errors import DataError, JobError, PluginError
from blear.job.document import Document, Where, parse_value, validate
from blear.job.leakage import selected_on_reported_split
from blear.job.reference_errors import read_errors
from blear.job.schema import BackboneUse, Data, FallbackData, HeadUse, Job, Search, Sweep
from blear.plugin.catalog import Catalog
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import ENTRY_GROUPS, DegradationUse, Use
from blear.storage.file_digest import file_digest
from blear.storage.remote import RemoteFolder, is_url


def read_job(file: Path, *, profile: str | None = None, overrides: Sequence[str] = ()) -> tuple[Job, Catalog]:
    """Reads, completes and checks a job; names come back full, paths absolute, matrices expanded.

    Args:
        file: the job file.
        profile: one of its `profiles`.
        overrides: `path=value` texts, the value in YAML; they win over the profile.

    Raises:
        JobError: with every problem found.
    """
    document = Document(file)
    if profile is not None:
        _apply_profile(document, profile)
    for text in overrides:
        path, value = parse_set(text)
        document.assign(path, value, f"--set {path}")
    _expand_matrices(document)
    validate(document, Job, document.data, ())
    completed, catalog = _complete(document)
    document.raise_problems()
    job = Job.model_validate(completed)
    if job.evaluate is not None and not job.evaluate.shares_validation:
        for name in selected_on_reported_split(job):
            what = f"{job.evaluate.split!r} chooses the weights of stage {name!r}, and is what `evaluate` reports on; "
            what += "take another split, or say evaluate.shares_validation: true, which the report then says too"
            document.problem(("stages", name, "validate"), what)
    if job.search is not None:
        _check_search(document, job, job.search)
    document.raise_problems()
    return job, catalog


def _check_search(document: Document, job: Job, search: Search) -> None:
    where = ("search",)
    if search.stage not in job.stages:
        document.problem((*where, "stage"), f"there is no stage {search.stage!r}; known: {', '.join(job.stages)}")
    if job.evaluate is None:
        document.problem(where, "a search looks at the levels of `evaluate`; add that section")
    elif job.evaluate.split == search.split:
        document.problem(
            (*where, "split"), f"evaluate reports on {search.split!r}; a search must choose on another split"
        )
    if job.cluster.workers != 1:
        what = "trains on one worker a trial; set cluster.workers: 1"
        if search.algorithm == "pbt":
            document.problem((*where, "algorithm"), f"a population {what}")
        if search.scheduler != "none":
            document.problem((*where, "scheduler"), f"what a scheduler ends {what}")
        if search.gpus:
            document.problem((*where, "gpus"), "each of several workers takes a GPU (cluster.gpu); leave gpus out")
    paths: dict[Where, str] = {(*where, "space", path): path for path in search.space}
    paths |= {(*where, "baselines", label, path): path for label, held in search.baselines.items() for path in held}
    for place, path in paths.items():
        if not document.leads(path):
            document.problem(place, "this path leads nowhere in the job")


def dump_job(job: Job) -> str:
    """The resolved job as YAML; reading it again gives the same job."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    yaml.dump(job.model_dump(by_alias=True, mode="json", exclude_defaults=True), stream)
    return stream.getvalue()


def _apply_profile(document: Document, profile: str) -> None:
    profiles = document.data.get("profiles") or {}
    if profile not in profiles:
        raise JobError(
            f"there is no profile {profile!r}", str(document.file), f"profiles: {', '.join(profiles) or 'none'}"
        )
    for path, value in profiles[profile].items():
        document.assign(path, value, document.place(("profiles", profile, path)))


def parse_set(text: str) -> tuple[str, Any]:
    """A `path=value` text; the value is YAML.

    Raises:
        JobError: no `=`, or a value that is not YAML.
    """
    path, equals, value = text.partition("=")
    if not equals:
        raise JobError("expected path=value", f"--set {text}", "for instance --set stages.joint.steps=100")
    try:
        return path, parse_value(value, f"--set {text}")
    except JobError as error:
        raise JobError(f"the value is not YAML: {error.what}", error.where, "quote the value") from error


def _expand_matrices(document: Document) -> None:
    """Replaces each entry of `data` and `stages` that has a `matrix` by one entry for each combination."""
    for section in ("data", "stages"):
        entries = document.data.get(section)
        if isinstance(entries, dict):
            document.data[section] = _expanded(document, section, entries)


def _expanded(document: Document, section: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    expanded: dict[str, Any] = {}
    for name, entry in entries.items():
        matrix = entry.get("matrix") if isinstance(entry, dict) else None
        if not isinstance(matrix, dict) or not all(isinstance(v, list) for v in matrix.values()):
            expanded[name] = entry
            continue
        count = math.prod(len(values) for values in matrix.values())
        if count > _MOST_ENTRIES:
            document.problem((section, name, "matrix"), f"the matrix makes {count} entries, {_MOST_ENTRIES} at most")
            continue
        body = {key: value for key, value in entry.items() if key != "matrix"}
        for values in itertools.product(*matrix.values()):
            fill = dict(zip(matrix, values, strict=True))
            full = _substitute(name, fill)
            if full in expanded:
                document.problem((section, name), f"the matrix makes {full!r} twice; put every key into the name")
            expanded[full] = _substitute(body, fill)
            for where, place in list(document.places.items()):
                if where[:2] == (section, name):
                    document.places[(section, full, *where[2:])] = place
    return expanded


def _substitute(value: Any, fill: Mapping[str, Any]) -> Any:
    """Replaces `{key}` in every string, once; a string that is only `{key}` becomes the value itself."""
    if isinstance(value, dict):
        return {_substitute(k, fill): _substitute(v, fill) for k, v in value.items()}
    if isinstance(value, list):
        return [_substitute(v, fill) for v in value]
    if not isinstance(value, str):
        return value
    if value[:1] == "{" and value[-1:] == "}" and value[1:-1] in fill:
        return fill[value[1:-1]]
    return _BRACES.sub(lambda found: str(fill.get(found[1], found[0])), value)


def _complete(document: Document) -> tuple[dict[str, Any], Catalog]:
    """The job's data with full component names, absolute sources and every reference checked.

    Works piece by piece, so that an error in one section does not hide those of another.
    """
    root = document.file.parent
    raw = document.data
    given = raw.get("plugins")
    sound = given if isinstance(given, list) and all(isinstance(name, str) for name in given) else []
    files = [str(_path(root / name)) for name in sound]  # what is not sound, validation says
    names = _Names(document, load_plugins(tuple(files)))
    done = copy.deepcopy(raw)
    if files:
        done["plugins"] = files
    sections = {key: value if isinstance(value := raw.get(key), dict) else {} for key in ("data", "stages")}
    for name, entry in sections["data"].items():
        done["data"][name] = names.data(entry, ("data", name))
    earlier: list[str] = []
    for name, entry in sections["stages"].items():
        if isinstance(entry, dict):
            done["stages"][name] = names.stage(entry, ("stages", name), sections["data"], earlier)
        earlier.append(name)
    if isinstance(evaluate := raw.get("evaluate"), dict):
        done["evaluate"] = names.evaluate(evaluate, ("evaluate",), sections["data"], sections["stages"])
    return done, names.catalog


_MOST_ENTRIES = 10_000
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass
class _Names:
    """Looks every name of a job up, noting what is not there."""

    document: Document
    catalog: Catalog

    def use(self, slot: str, model: type[Use], raw: Any, where: Where, extra: Mapping[str, Any] | None = None) -> Any:
        """One component: full name, parameters checked; `extra` are parameters that the job gives in another place."""
        own = {field.alias or name for name, field in model.model_fields.items()}
        use = raw.get("use") if isinstance(raw, dict) else None
        if not isinstance(use, str):
            return raw  # its shape is wrong, which the job's own validation says
        try:
            registered = self.catalog.get(slot, use)
        except PluginError as error:
            self.document.problem((*where, "use"), f"{error.what}; {error.do}" if error.do else error.what)
            return raw
        if model is DegradationUse:  # a component's own probability is one of its parameters
            own -= {"p"} & registered.component.params.model_fields.keys()
        params = {key: value for key, value in raw.items() if key not in own} | dict(extra or {})
        validate(self.document, registered.component.params, params, where)
        return raw | {"use": registered.name}

    def uses(self, raw: Any, where: Where) -> Any:
        """A list of degradations."""
        if not isinstance(raw, list):
            return raw
        return [self.entry(item, (*where, index)) for index, item in enumerate(raw)]

    def entry(self, raw: Any, where: Where) -> Any:
        """A degradation, or a group of them."""
        for group in ENTRY_GROUPS:
            if isinstance(raw, dict) and group.key in raw:
                return raw | {group.key: self.uses(raw[group.key], (*where, group.key))}
        return self.use("degradation", DegradationUse, raw, where)

    def once(self, raw: Any, where: Where) -> Any:
        """A list of degradations that act when shards are written, whose clips have one size."""
        named = self.uses(raw, where)
        for place, use in _parts(named, where):
            full = use.get("use")
            known = self.catalog.components["degradation"].get(full) if isinstance(full, str) else None
            if known is not None and known.attribute("for_evaluation") is not None:
                text = f"{full} changes the size of clips; name it in a stage's `augment`"
                self.document.problem((*place, "use"), text)
        return named

    def data(self, raw: Any, where: Where) -> Any:
        """An entry of `data`."""
        if not isinstance(raw, dict):
            return raw
        raw = dict(raw)
        source, shards, stand_in = raw.get("source"), raw.get("shards"), raw.get("stand_in")
        if isinstance(source, str):
            path = _path(Path(source))
            if not path.exists():
                self.document.problem((*where, "source"), f"no such file or folder: {source}")
            raw["source"] = str(path)
        if isinstance(shards, str):
            raw["shards"] = self.shards(shards, (*where, "shards"))
        if "degrade_once" in raw:
            raw["degrade_once"] = self.once(raw["degrade_once"], (*where, "degrade_once"))
        if isinstance(stand_in, dict):
            stand_in = self.use("dataset", FallbackData, stand_in, (*where, "stand_in"))
            raw["stand_in"] = stand_in | {
                key: self.uses(stand_in[key], (*where, "stand_in", key))
                for key in ("augment", "degrade")
                if key in stand_in
            }
        if source is None and (shards is not None or stand_in is not None) and self.takes_source(raw.get("use")):
            source = "."  # any path: it is not read, only the other keys are checked
        return self.use("dataset", Data, raw, where, {} if source is None else {"source": source})

    def takes_source(self, use: Any) -> bool:
        """Whether a dataset has a parameter `source`."""
        try:
            return isinstance(use, str) and "source" in self.catalog.get("dataset", use).component.params.model_fields
        except PluginError:  # noted when the name is looked up
            return False

    def shards(self, place: str, where: Where) -> str:
        """A folder or URL of prepared shards: folders are absolute; a URL is not opened, only that it can be."""
        if is_url(place):
            try:
                return RemoteFolder.parse(place).url
            except DataError as error:
                self.document.problem(where, f"{error.what}; {error.do}")
                return place
        path = _path(Path(place))
        if not (path / "dataset.json").is_file():
            self.document.problem(where, f"not a folder of prepared shards (no dataset.json in it): {place}")
        return str(path)

    def stage(
        self, raw: dict[str, Any], where: Where, data: Mapping[str, Any], earlier: Sequence[str]
    ) -> dict[str, Any]:
        """An entry of `stages`."""
        raw = dict(raw)
        if isinstance(raw.get("data"), str) and raw["data"] not in data:
            self.document.problem((*where, "data"), _unknown("data", raw["data"], data))
        for key in ("augment", "degrade"):
            if key in raw:
                raw[key] = self.uses(raw[key], (*where, key))
        if isinstance(backbone := raw.get("backbone"), dict):
            raw["backbone"] = self.use("backbone", BackboneUse, backbone, (*where, "backbone"))
            start = backbone.get("start_from")
            stage = start.get("stage") if isinstance(start, dict) else None
            if isinstance(stage, str) and stage not in earlier:
                place = (*where, "backbone", "start_from", "stage")
                self.document.problem(place, _unknown("earlier stage", stage, earlier))
            if isinstance(start, dict) and isinstance(start.get("file"), str):
                raw["backbone"] = raw["backbone"] | {
                    "start_from": self.weights(start, (*where, "backbone", "start_from"))
                }
        if "head" in raw:
            raw["head"] = self.use("head", HeadUse, raw["head"], (*where, "head"))
        return raw

    def weights(self, start: dict[str, Any], where: Where) -> dict[str, Any]:
        """A `start_from` with the file's absolute path and digest, by which a continued run knows another file."""
        given = start["file"]
        path = _path(Path(given) if given.startswith("~") else self.document.file.parent / given)
        if not path.is_file():
            self.document.problem((*where, "file"), f"no such file: {given} (relative to the job file)")
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
        """The section `evaluate`."""
        raw = dict(raw)
        if isinstance(raw.get("data"), str) and raw["data"] not in data:
            self.document.problem((*where, "data"), _unknown("data", raw["data"], data))
        if isinstance(sweep := raw.get("sweep"), dict):
            raw["sweep"] = self.sweep(sweep, (*where, "sweep"))
        elif isinstance(sweep, list):
            place = (*where, "sweep")
            raw["sweep"] = [self.sweep(s, (*place, i)) if isinstance(s, dict) else s for i, s in enumerate(sweep)]
        if isinstance(mce := raw.get("mce"), str) and mce.endswith(".csv"):
            raw["mce"] = self.errors(mce, (*where, "mce"))
        arms = raw.get("arms")
        if arms == {}:
            self.document.problem((*where, "arms"), "no arms; name at least one stage")
        for label, arm in arms.items() if isinstance(arms, dict) else ():
            for key in ("stage", "restore"):
                stage = arm.get(key) if isinstance(arm, dict) else None
                if isinstance(stage, str) and not any(_fits(stage, str(name)) for name in stages):
                    self.document.problem((*where, "arms", label, key), _unknown("stage", stage, stages))
        return raw

    def errors(self, given: str, where: Where) -> Any:
        """Error rates of a reference; in the resolved job they are the table itself, so that nothing changes them."""
        try:
            return read_errors(_path(self.document.file.parent / given))
        except JobError as error:
            self.document.problem(where, error.what)
            return None

    def sweep(self, raw: dict[str, Any], where: Where) -> Any:
        """The swept degradation, checked at each of its values, and what is before and after it."""
        raw = raw | {key: self.uses(raw[key], (*where, key)) for key in ("before", "after") if key in raw}
        over = raw.get("over")
        if not isinstance(over, dict):
            return self.use("degradation", Sweep, raw, where)
        if len(over) != 1 or not all(isinstance(values, list) and values for values in over.values()):
            self.document.problem((*where, "over"), "name exactly one parameter with a list of values")
            return raw
        ((parameter, values),) = over.items()
        return [self.use("degradation", Sweep, raw, where, {parameter: value}) for value in values][-1]


def _parts(raw: Any, where: Where) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Every entry of a list of degradations with its place, those of groups included."""
    for index, entry in enumerate(raw if isinstance(raw, list) else ()):
        if isinstance(entry, dict):
            yield (*where, index), entry
            for group in ENTRY_GROUPS:
                yield from _parts(entry.get(group.key), (*where, index, group.key))


def _path(given: Path) -> Path:
    """An absolute path; a user's home where there is one.

    Raises:
        JobError: no file can have this name.
    """
    try:
        path = given.expanduser().resolve()
        path.exists()  # raises where the name is too long
    except (OSError, RuntimeError) as error:  # a link that leads to itself; a user without a home
        raise JobError(f"not a path: {error}", str(given)[:100], "check the path") from error
    return path


def _fits(template: str, name: str) -> bool:
    """Whether a stage's name is a template with something in each `{factor}`; linear, which a regex is not."""
    first, *rest = re.split(r"\{\w+\}", template)
    if not rest:
        return name == template
    *middle, last = rest
    at, end = len(first), len(name) - len(last)
    if not name.startswith(first) or not name.endswith(last):
        return False
    for piece in middle:
        at = name.find(piece, at + 1, end)
        if at < 0:
            return False
        at += len(piece)
    return at < end


def _unknown(kind: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"there is no {kind} {name!r}; " + (
        f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
    )
