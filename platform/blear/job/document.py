"""A YAML document with the position of every value, and validation that adds the position to each message."""

from __future__ import annotations

import codecs
import copy
import difflib
import fnmatch
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from blear.errors import JobError
from blear.job.shipped_jobs import find_job

Model = TypeVar("Model", bound=BaseModel)

Where = tuple[str | int, ...]

_LARGEST = 1 << 18
_MOST = 50_000
_CACHED_FROM = 200  # characters: values of --set would push jobs out of the cache
_DEEPEST = 32
_SHOWN = 120  # characters of a wrong value in a message
_FLATTER = "a job needs no more than a few levels"


class Document:
    """The plain data of a job file, with the position of each value and the problems found so far.

    Args:
        file: path of the file, or name of a job that comes with blear.

    Attributes:
        data: dicts, lists, texts, numbers, booleans and None.
        places: path of a value, for instance ("stages", "sr", "steps") -> "job.yaml:7:3" or "--set stages.sr.steps".
        problems: one line for each problem; `raise_problems` raises all of them together.

    Raises:
        JobError: the file cannot be read, is not YAML, or is no mapping.
    """

    def __init__(self, file: Path) -> None:
        self.file = file = find_job(file)
        self.places: dict[Where, str] = {}
        self.problems: list[str] = []
        try:
            with file.open("rb") as stream:
                text = _decoded(stream.read(2 * _LARGEST + 4))
        except UnicodeDecodeError as error:
            what = f"cannot be read: neither UTF-8 nor UTF-16 text: {error.reason} at byte {error.start}"
            raise JobError(what, str(file), "give the path of a YAML job, and save it as UTF-8") from error
        except OSError as error:
            raise JobError(f"cannot be read: {error}", str(file), "give the path of a YAML job") from error
        tree = _parsed(text, str(file))
        if not isinstance(tree, CommentedMap):
            raise JobError("a job file is a mapping of keys", f"{file}:1:1", "start from jobs/vlqr.yaml")
        self.data: dict[str, Any] = _Plain(str(file), self.places).value(tree, ())

    def place(self, where: Where) -> str:
        """Returns the position of a path, or of its nearest parent with a known position."""
        for length in range(len(where), -1, -1):
            if where[:length] in self.places:
                return self.places[where[:length]]
        return f"{self.file}:1:1"

    def problem(self, where: Where, message: str) -> None:
        """Adds a problem, once."""
        line = f"{self.place(where)}: {'.'.join(map(str, where))}: {message}"
        if line not in self.problems:
            self.problems.append(line)

    def _known_keys(self, path: Sequence[str]) -> str:
        """Names the keys at the place where a path leaves the job."""
        node: Mapping[Any, Any] = self.data
        inside: list[str] = []
        for key in path:
            inner = {str(name): value for name, value in node.items()}.get(key)
            if not isinstance(inner, dict):
                break
            node, inside = inner, [*inside, key]
        return f"keys of {'.'.join(inside) or 'the job'}: {', '.join(map(str, node)) or 'none'}"

    def raise_problems(self) -> None:
        """Raises all problems in the order of the file.

        Raises:
            JobError: there are problems.
        """
        if not self.problems:
            return
        ordered = sorted(self.problems, key=lambda line: [int(n) for n in re.findall(r":(\d+)(?=:)", line)[:2]])
        count = f"{len(ordered)} error{'s' if len(ordered) > 1 else ''} in the job"
        raise JobError("\n".join([count, *ordered]), do="`blear plugins` lists components, `blear schema` all keys")

    def has_path(self, path: str) -> bool:
        """Whether `assign` accepts a path."""
        return bool(self.matches(path))

    def matches(self, path: str) -> list[Where]:
        """Returns the places that `assign` sets for a path."""
        return [where for _, _, where in _spots(self.data, tuple(path.split(".")))]

    def assign(self, path: str, value: Any, origin: str) -> None:
        """Sets a value.

        Args:
            path: keys joined by dots, for instance `stages.joint.steps`; `*` matches every key at its place.
            value: the new value.
            origin: the position that messages give for the new value.

        Raises:
            JobError: the path does not exist in the job.
        """
        spots = list(_spots(self.data, tuple(path.split("."))))
        if not spots:
            raise JobError(f"path {path!r} does not exist in this job", origin, self._known_keys(path.split(".")))
        for parent, key, where in spots:
            parent[key] = copy.deepcopy(value)
            self.places[where] = origin


def parse_value(text: str, origin: str) -> Any:
    """Parses a YAML text to plain data; `origin` is its position in messages.

    Raises:
        JobError: the text is not YAML, or is too large.
    """
    return _Plain(origin, {}).value(_parsed(text, origin), ())


def _decoded(content: bytes) -> str:
    """Decodes the content of a YAML file: UTF-8 or UTF-16, by byte order mark or, without one, by the first NUL."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if content[:1] == b"\0" or content[1:2] == b"\0":
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le")
    return content.decode("utf-8-sig")


@functools.lru_cache(maxsize=64)
def _tree(text: str) -> Any:
    """Ruamel's tree of a text, which nobody changes. Parsing a job takes about 0.1 s, and jobs are read repeatedly."""
    return YAML().load(text)


def _parsed(text: str, file: str) -> Any:
    """Parses a text to ruamel's tree, in which aliases share their nodes."""
    if len(text) > _LARGEST:
        raise JobError(f"a job of more than {_LARGEST} characters", file, "keep data out of the job file")
    try:
        return _tree(text) if len(text) > _CACHED_FROM else YAML().load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        raise JobError(f"not valid YAML: {getattr(error, 'problem', error)}", place, "fix the YAML") from error
    except RecursionError as error:
        raise JobError("nested too deeply", file, _FLATTER) from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # ruamel raises these for some tags
        raise JobError(f"not valid YAML: {error}", file, "quote the value") from error


@dataclass
class _Plain:
    """Converts ruamel's tree to plain data and records the position of each value. Limits the number of values."""

    file: str
    places: dict[Where, str]
    values: int = 0

    def value(self, node: Any, where: Where) -> Any:
        """Converts the node at a path."""
        self.values += 1
        if len(where) > _DEEPEST:
            raise JobError("nested too deeply", self.place(where), _FLATTER)
        if self.values > _MOST:
            raise JobError(f"too many values: over {_MOST}, aliases counted", self.file, "use fewer aliases")
        if isinstance(node, CommentedMap):
            if where == ():
                self.places[()] = f"{self.file}:1:1"
            return {self.key(node, key, where): self.value(node[key], (*where, key)) for key in node}
        if isinstance(node, CommentedSeq):
            for index in range(len(node)):
                self.note((*where, index), (node.lc.data or {}).get(index))
            return [self.value(item, (*where, index)) for index, item in enumerate(node)]
        if isinstance(node, bool) or node is None:
            return node
        if isinstance(node, float):
            return float(node)
        if isinstance(node, int):
            if abs(node) >= 2**63:
                raise JobError("an integer of more than 64 bits", self.place(where), "check the number")
            return int(node)
        text = str(node)
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise JobError("a text with characters that no file can hold", self.place(where), "check the escapes")
        return text

    def key(self, node: CommentedMap, key: Any, where: Where) -> str | int | float:
        """Converts a key, which must be a text or a number."""
        self.note((*where, key), (node.lc.data or {}).get(key))  # a key merged by `<<` has no position
        plain = self.value(key, (*where, key))
        if isinstance(plain, bool) or not isinstance(plain, str | int | float):
            raise JobError(f"the key {str(key)!r} is not a text", self.place(where), "put it into quotes")
        return plain

    def note(self, where: Where, found: Sequence[int] | None) -> None:
        """Records the position of a path if ruamel has one."""
        if found is not None:
            self.places[where] = f"{self.file}:{found[0] + 1}:{found[1] + 1}"

    def place(self, where: Where) -> str:
        """Returns the position of a path, or of its nearest parent with a known position."""
        known = (self.places[where[:n]] for n in range(len(where), -1, -1) if where[:n] in self.places)
        return next(known, self.file)


_NAMED = (("data",), ("stages",), ("evaluate", "arms"))  # `assign` adds no new entries to these


def _spots(node: Any, path: Where, where: Where = ()) -> Iterator[tuple[Any, Any, Where]]:
    """Iterates over each (parent, key, path) that a path matches. Only the last key may be new."""
    head, rest = path[0], path[1:]
    if isinstance(node, list) and str(head).isdecimal() and int(head) < len(node):
        keys: list[Any] = [int(head)]
    elif isinstance(node, dict):
        by_text = {str(key): key for key in node}
        keys = (
            [by_text[k] for k in fnmatch.filter(by_text, str(head))]
            if "*" in str(head)
            else [by_text.get(str(head), head)]
        )
    else:
        return
    for key in keys:
        if not rest:
            yield node, key, (*where, key)
        elif isinstance(node, list) or key in node:
            yield from _spots(node[key], rest, (*where, key))
        elif "*" not in str(head) and where not in _NAMED:
            node[key] = {}  # a section that the file does not contain
            yield from _spots(node[key], rest, (*where, key))


def validate(document: Document, model: type[Model], data: Any, where: Where) -> Model | None:
    """Validates data; returns the model, or None after adding every problem to the document.

    Args:
        document: collects the problems.
        model: a pydantic model.
        data: plain data.
        where: path of the data in the job.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for item in error.errors():
            inner = _inside(data, item["loc"], item["type"] == "missing")
            message = item["msg"]
            if item["type"] == "extra_forbidden":
                known = list(_fields_at(model, inner[:-1]))
                close = difflib.get_close_matches(str(inner[-1]), known, n=1)
                message = (
                    f"unknown key; did you mean {close[0]!r}?" if close else f"unknown key; known: {', '.join(known)}"
                )
            elif item["type"] == "missing":
                message = "required, but not given"
            else:
                message += f", got {_short(item['input'])}"
                if item["type"] == "string_type" and isinstance(item["input"], int | float):
                    message += "; put it into quotes"
            document.problem((*where, *inner), message)
        return None


def _short(value: Any) -> str:
    """Formats a value for a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _inside(data: Any, loc: Sequence[Any], missing: bool) -> Where:
    """Removes the tags of unions from pydantic's location. The rest are keys of the data, or a missing key."""
    where: list[Any] = []
    for number, part in enumerate(loc):
        last = number == len(loc) - 1
        if isinstance(data, Mapping) and (part in data or (last and missing)):
            where.append(part)
            data = data.get(part)
        elif isinstance(data, Sequence) and not isinstance(data, str) and isinstance(part, int) and part < len(data):
            where.append(part)
            data = data[part]
    return tuple(where)


def _fields_at(annotation: Any, path: Sequence[Any]) -> Iterator[str]:
    """Iterates over the field names of a model at a path inside it, through dicts, lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
        if not path:
            yield from fields
        elif path[0] in fields:
            yield from _fields_at(fields[path[0]], path[1:])
        return
    deeper = path[1:] if get_origin(annotation) in (dict, list, tuple) else path
    for argument in get_args(annotation):
        yield from _fields_at(argument, deeper)
