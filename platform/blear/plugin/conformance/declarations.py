"""Checks of every component: its declaration, its parameters, and its errors."""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from blear.contracts import BuildContext
from blear.errors import BlearError
from blear.plugin.catalog import RegisteredComponent
from blear.plugin.conformance.checks import Check, expect


def declaration_checks(registered: RegisteredComponent) -> Iterator[Check]:
    """Iterates over the checks of the declaration, then over those of each example."""
    name = registered.name
    yield Check(name, 0, "is declared completely", functools.partial(_complete, registered))
    yield Check(name, 0, "refuses unknown parameters", functools.partial(_strict, registered))
    for number, example in enumerate(registered.component.examples):
        yield Check(name, number, "parameters survive JSON", functools.partial(_round_trip, registered, example))


def _complete(registered: RegisteredComponent) -> None:
    component = registered.component
    expect(bool(component.summary.strip()), "Component.summary", "one line that describes it", repr(component.summary))
    expect("\n" not in component.summary, "Component.summary", "one line", repr(component.summary))
    expect(len(component.examples) > 0, "Component.examples", "at least one set of parameters", "none")
    schema = component.params.model_json_schema()
    json.dumps(schema)
    for key, field in schema.get("properties", {}).items():
        expect(bool(field.get("description")), f"params.{key}", "a description", "none")


def _strict(registered: RegisteredComponent) -> None:
    example = dict(next(iter(registered.component.examples), {}))
    try:
        registered.params(example | {"no_such_parameter": 1})
    except ValidationError as error:
        place = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
        expect("no_such_parameter" in place, "params", "an error that names the unknown key", f"errors at {place}")
        own = _raised(registered, example | {"no_such_parameter": 1})
        again = pickle.loads(pickle.dumps(own))  # noqa: S301  made two lines above
        expect(str(again) == str(own), "build", "an error that survives pickling", repr(again))
        return
    expect(False, "params", "unknown keys to be refused (derive from blear.contracts.Params)", "they are accepted")


def _raised(registered: RegisteredComponent, params: Mapping[str, Any]) -> BlearError:
    try:
        registered.build(params, BuildContext())
    except BlearError as error:
        return error
    raise ValueError("unreachable: the parameters were refused a moment ago")


def _round_trip(registered: RegisteredComponent, example: Mapping[str, Any]) -> None:
    params = registered.params(example)
    again = type(params).model_validate_json(params.model_dump_json(by_alias=True))
    expect(again == params, "params", f"{params!r} after JSON", repr(again))
    expect(pickle.loads(pickle.dumps(params)) == params, "params", "equal after pickling", "other ones")  # noqa: S301
